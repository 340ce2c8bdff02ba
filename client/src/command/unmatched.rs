//! What is said about signals that the log does not have: most often they are typed wrongly.

use downlink_client::Client;
use downlink_client::v1::ListSignalsRequest;

/// Says on standard error which names or globs match no signal, or that there is none at all.
pub(super) async fn warn_of_unmatched(client: &Client, globs: &[String]) -> downlink_client::Result<()> {
    if !has_signal(client, "").await? {
        eprintln!("downlink: the log is empty");
        return Ok(());
    }
    for glob in globs {
        if !has_signal(client, glob).await? {
            eprintln!("downlink: no signal matches '{glob}'");
        }
    }
    Ok(())
}

async fn has_signal(client: &Client, glob: &str) -> downlink_client::Result<bool> {
    let filter = glob.to_owned();
    let request = ListSignalsRequest { filter, page_size: 1, ..ListSignalsRequest::default() };
    Ok(!client.signals(request).await?.signals.is_empty())
}
