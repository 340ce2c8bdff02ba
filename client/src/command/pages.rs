//! Answers of many pages, page by page.

use downlink_client::v1::{
    Consumer, GetLatestRequest, LatestValue, ListConsumersRequest, ListSignalsRequest, Signal,
};
use downlink_client::{Client, Result};

/// A request that is answered in pages.
pub(super) trait Paged: Clone {
    /// What the pages are of.
    type Item;

    /// The page at the token, and the token of the next one; empty on the last.
    async fn page(&self, client: &Client) -> Result<(Vec<Self::Item>, String)>;

    /// Where the next page begins.
    fn set_token(&mut self, token: String);
}

/// The pages of an answer.
pub(super) struct Pages<R> {
    request: Option<R>,
}

impl<R: Paged> Pages<R> {
    pub(super) fn of(request: R) -> Self {
        Self { request: Some(request) }
    }

    /// The next page; `None` behind the last.
    pub(super) async fn next(&mut self, client: &Client) -> Result<Option<Vec<R::Item>>> {
        let Some(request) = &mut self.request else { return Ok(None) };
        let (items, next) = request.page(client).await?;
        if next.is_empty() {
            self.request = None;
        } else {
            request.set_token(next);
        }
        Ok(Some(items))
    }
}

impl Paged for GetLatestRequest {
    type Item = LatestValue;

    async fn page(&self, client: &Client) -> Result<(Vec<LatestValue>, String)> {
        let page = client.latest(self.clone()).await?;
        Ok((page.values, page.next_page_token))
    }

    fn set_token(&mut self, token: String) {
        self.page_token = token;
    }
}

impl Paged for ListSignalsRequest {
    type Item = Signal;

    async fn page(&self, client: &Client) -> Result<(Vec<Signal>, String)> {
        let page = client.signals(self.clone()).await?;
        Ok((page.signals, page.next_page_token))
    }

    fn set_token(&mut self, token: String) {
        self.page_token = token;
    }
}

impl Paged for ListConsumersRequest {
    type Item = Consumer;

    async fn page(&self, client: &Client) -> Result<(Vec<Consumer>, String)> {
        let page = client.consumers(self.clone()).await?;
        Ok((page.consumers, page.next_page_token))
    }

    fn set_token(&mut self, token: String) {
        self.page_token = token;
    }
}
