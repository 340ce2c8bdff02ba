//! `QueryService`: translates and delegates.

mod aggregate;
mod as_of;
mod batches;
pub(super) mod encode;
mod known;
mod latest;
pub(super) mod pieces;
pub(super) mod position;
mod read;
pub(super) mod request;
mod subscribe;

use std::sync::Arc;

use downlink_proto::v1::query_service_server::QueryService;
use downlink_proto::v1::{
    AggregateRequest, ErrorReason, GetLatestRequest, GetLatestResponse, ListSignalsRequest,
    ListSignalsResponse, LookupOffsetRequest, LookupOffsetResponse, ReadRequest, ReadResponse,
    SubscribeRequest, SubscribeResponse,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

use super::Shared;
use super::outbox;
use super::status::Refusal;

/// Hands events out.
pub(crate) struct Query {
    shared: Arc<Shared>,
}

impl Query {
    /// On what the services share.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Room for a page, before it is made.
    async fn page_room(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.shared.in_time(self.shared.pages.room(self.shared.config.page_bytes_max)).await
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let most = self.shared.config.read_streams_max;
        self.shared.readers.clone().try_acquire_owned().map_err(|_| {
            Refusal::new(
                ErrorReason::Quota,
                format!("{most} streams are read already, the most there may be"),
            )
        })
    }
}

#[tonic::async_trait]
impl QueryService for Query {
    // Their messages go by another way.
    type ReadStream = Empty<Result<ReadResponse, Status>>;
    type SubscribeStream = Empty<Result<SubscribeResponse, Status>>;
    type AggregateStream = aggregate::Answer;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let permit = self.permit()?;
        Ok(read::serve(self.shared.clone(), request.into_inner()).await?.into_response(permit))
    }

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let permit = self.permit()?;
        Ok(subscribe::serve(self.shared.clone(), request.into_inner()).await?.into_response(permit))
    }

    async fn get_latest(
        &self,
        request: Request<GetLatestRequest>,
    ) -> Result<Response<GetLatestResponse>, Status> {
        let room = self.page_room().await?;
        let page = latest::get_latest(&self.shared, request.into_inner()).await?;
        Ok(outbox::answer(page, room, &self.shared.pages))
    }

    async fn list_signals(
        &self,
        request: Request<ListSignalsRequest>,
    ) -> Result<Response<ListSignalsResponse>, Status> {
        let room = self.page_room().await?;
        let page = latest::list_signals(&self.shared, request.into_inner()).await?;
        Ok(outbox::answer(page, room, &self.shared.pages))
    }

    async fn aggregate(
        &self,
        request: Request<AggregateRequest>,
    ) -> Result<Response<Self::AggregateStream>, Status> {
        let stream = aggregate::serve(self.shared.clone(), request.into_inner(), self.permit()?).await?;
        Ok(Response::new(stream))
    }

    async fn lookup_offset(
        &self,
        request: Request<LookupOffsetRequest>,
    ) -> Result<Response<LookupOffsetResponse>, Status> {
        position::lookup_offset(&self.shared, request.into_inner()).await.map(Response::new)
    }
}
