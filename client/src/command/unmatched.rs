//! What is said about signals that the log does not have: most often they are typed wrongly.

use downlink_client::v1::{ErrorReason, ListSignalsRequest};
use downlink_client::{Client, Error};

/// A name or glob that was given matches no signal.
#[derive(Debug, thiserror::Error)]
#[error("no signal matches {}; 'downlink signals' lists them", quoted(.0))]
struct Unmatched(Vec<String>);

fn quoted(globs: &[String]) -> String {
    let quoted: Vec<_> = globs.iter().map(|glob| format!("'{glob}'")).collect();
    quoted.join(", nor ")
}

/// Fails if a name or glob matches no signal. Says on standard error `why_empty`, if the answer is, or that the log is.
pub(super) async fn account_for(
    client: &Client,
    globs: &[String],
    why_empty: Option<&str>,
) -> anyhow::Result<()> {
    // One glob that has an answer matches something.
    if why_empty.is_some() || globs.len() > 1 {
        check(client, globs).await?;
    }
    if let Some(why) = why_empty {
        let is_empty_log = globs.is_empty() && !has_signal(client, "").await?;
        eprintln!("downlink: {}", if is_empty_log { "the log is empty" } else { why });
    }
    Ok(())
}

/// Fails if a name or glob matches no signal.
pub(super) async fn check(client: &Client, globs: &[String]) -> anyhow::Result<()> {
    let mut unmatched = Vec::new();
    for glob in globs {
        if !has_signal(client, glob).await? {
            unmatched.push(glob.clone());
        }
    }
    if unmatched.is_empty() { Ok(()) } else { Err(Unmatched(unmatched).into()) }
}

/// Says on standard error which names or globs match no signal yet.
pub(super) async fn warn(client: &Client, globs: &[String]) -> downlink_client::Result<()> {
    for glob in globs {
        if !has_signal(client, glob).await? {
            eprintln!("downlink: no signal matches '{glob}' yet");
        }
    }
    Ok(())
}

/// Asks about signals, leaving those out that are defined but have had no event yet, which it says on standard error.
/// `None` if no other was asked for.
pub(super) async fn ask<T>(
    client: &Client,
    signals: &[String],
    ask: impl AsyncFn(Vec<String>) -> downlink_client::Result<T>,
) -> anyhow::Result<Option<T>> {
    let mut wanted = signals.to_vec();
    loop {
        let error = match ask(wanted.clone()).await {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) => error,
        };
        let Some(name) = unknown(&error) else { return Err(error.into()) };
        if !has_signal(client, &name).await? {
            return Err(Unmatched(vec![name]).into());
        }
        eprintln!("downlink: '{name}' is defined, but has had no event yet");
        let before = wanted.len();
        wanted.retain(|signal| *signal != name);
        if wanted.is_empty() {
            return Ok(None);
        }
        if wanted.len() == before {
            return Err(error.into());
        }
    }
}

/// The signal that the log has no event of, if that is the error.
fn unknown(error: &Error) -> Option<String> {
    let Error::Refused(refusal) = error else { return None };
    let is_unknown = refusal.reason == Some(ErrorReason::SignalUnknown);
    refusal.metadata.get("signal").filter(|_| is_unknown).cloned()
}

async fn has_signal(client: &Client, glob: &str) -> downlink_client::Result<bool> {
    let filter = glob.to_owned();
    let request = ListSignalsRequest { filter, page_size: 1, ..ListSignalsRequest::default() };
    Ok(!client.signals(request).await?.signals.is_empty())
}
