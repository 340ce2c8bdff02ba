//! The API as described against the API as served.

use downlink_proto::FILE_DESCRIPTOR_SET;
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use super::*;

/// The path of every method of `downlink.v1`.
pub(crate) fn methods() -> Vec<String> {
    crate::grpc::methods(FILE_DESCRIPTOR_SET).into_iter().map(|(path, _)| format!("/{path}")).collect()
}

/// What a call with an empty message comes to. On the wire a stream of one message is also a unary call.
async fn call(server: &Fixture, path: &str) -> Result<(), Status> {
    let mut client = Grpc::new(server.channel().await);
    client.ready().await.unwrap();
    let request = Request::new(tokio_stream::iter([()]));
    let calling = client.streaming(request, path.parse().unwrap(), ProstCodec::<(), ()>::default());
    tokio::time::timeout(PATIENCE, calling).await.unwrap().map(|_| ())
}

#[tokio::test]
async fn every_method_is_served_or_says_that_it_is_not_yet() {
    let server = Fixture::start(|_| {}).await;
    let methods = methods();
    assert!(methods.contains(&"/downlink.v1.IngestService/DefineSignals".to_owned()), "{methods:?}");
    for path in methods {
        let Err(status) = call(&server, &path).await else { continue };
        if status.code() == Code::Unimplemented {
            assert_eq!(reason(&status), "NOT_SERVED_YET", "{path}: {status:?}");
        }
    }
    // What a method that was forgotten would answer.
    for path in ["/downlink.v1.IngestService/Forgotten", "/downlink.v1.QueryService/Forgotten"] {
        let status = call(&server, path).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, ""));
    }
}
