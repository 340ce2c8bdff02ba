//! Where the figures come from: the page of metrics, asked for again and again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use ureq::Agent;

use super::figures::Figures;
use super::page::Page;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// More than a server with a thousand signals and consumers tells.
const PAGE_BYTES_MAX: u64 = 16 << 20;
/// What every page of a server has.
const OF_A_SERVER: &str = "downlink_head_offset";

/// A server's metrics, and what they were before.
pub(super) struct Source {
    agent: Agent,
    url: String,
    before: Option<(Page, Instant)>,
}

impl Source {
    /// The metrics of the server that serves HTTP there.
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        let origin = url.strip_suffix("/metrics").unwrap_or(url).trim_end_matches('/');
        ensure!(
            origin.starts_with("http://") || origin.starts_with("https://"),
            "'{url}' is not where a server serves HTTP: write it like http://127.0.0.1:9464"
        );
        let config = Agent::config_builder().timeout_global(Some(ANSWER)).http_status_as_error(false).build();
        Ok(Self { agent: config.into(), url: format!("{origin}/metrics"), before: None })
    }

    /// Takes what there is to compare with.
    pub(super) async fn begin(&mut self) -> anyhow::Result<()> {
        self.before = Some((self.page().await?, Instant::now()));
        Ok(())
    }

    /// The figures since the last time.
    pub(super) async fn next(&mut self) -> anyhow::Result<Figures> {
        let (page, now) = (self.page().await?, Instant::now());
        let (before, then) = self.before.take().unwrap_or_else(|| (Page::default(), now));
        let figures = Figures::between(&before, &page, now - then);
        self.before = Some((page, now));
        Ok(figures)
    }

    async fn page(&self) -> anyhow::Result<Page> {
        let (agent, url) = (self.agent.clone(), self.url.clone());
        tokio::task::spawn_blocking(move || ask(&agent, &url)).await?
    }
}

fn ask(agent: &Agent, url: &str) -> anyhow::Result<Page> {
    let mut answer = agent.get(url).call().with_context(|| format!("no metrics from {url}"))?;
    let status = answer.status();
    if !status.is_success() {
        bail!("no metrics from {url}: it answers {status}");
    }
    let text = answer.body_mut().with_config().limit(PAGE_BYTES_MAX).read_to_string();
    let page = Page::parse(&text.with_context(|| format!("no metrics from {url}"))?);
    ensure!(page.value(OF_A_SERVER).is_some(), "{url} has no metrics of a downlink-server, or none yet");
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_with_and_without_its_path() {
        for url in ["http://a:1", "http://a:1/", "http://a:1/metrics"] {
            assert_eq!(Source::new(url).unwrap().url, "http://a:1/metrics");
        }
        assert!(Source::new("a:1").is_err());
    }
}
