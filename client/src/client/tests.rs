//! Connections to what is not a server of this kind.

use std::io::Write;
use std::net::TcpListener;

use super::*;

/// Takes connections and says nothing but this, to each of them.
fn listen(greeting: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            connection.write_all(greeting).unwrap();
            std::thread::spawn(move || std::io::copy(&mut connection, &mut std::io::sink()));
        }
    });
    url
}

#[tokio::test]
async fn silence_is_not_waited_for() {
    let options = ClientOptions { call_timeout: Duration::from_secs(1), ..ClientOptions::default() };
    let client = Client::connect_with(listen(b""), options).await.unwrap();
    let text = format!("no answer from {} in 1 s; is it a Downlink server?", client.url());
    assert_eq!(client.info().await.unwrap_err().to_string(), text);
    assert_eq!(client.read(ReadRequest::default()).await.unwrap_err().to_string(), text);
    let subscription = client.subscribe(SubscribeRequest::default()).await;
    assert_eq!(subscription.err().unwrap().to_string(), text);
    let appender = client.appender(AppenderOptions::new("producer")).await;
    assert_eq!(appender.unwrap_err().to_string(), text);
}

#[tokio::test]
async fn another_program_on_the_port_is_told_apart() {
    for greeting in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.6\r\n"] {
        let client = match Client::connect(listen(greeting)).await {
            Ok(client) => client.info().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let error = client.unwrap_err();
        assert!(matches!(error, Error::NotGrpc { .. }), "{error:?}");
        assert!(!error.is_retryable());
    }
}
