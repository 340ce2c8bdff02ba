//! `QueryService`: translates and delegates.

use std::sync::Arc;

use downlink_proto::v1::query_service_server::QueryService;
use downlink_proto::v1::{
    AggregateRequest, AggregateResponse, ErrorReason, GetLatestRequest, GetLatestResponse,
    ListSignalsRequest, ListSignalsResponse, LookupOffsetRequest, LookupOffsetResponse, ReadRequest,
    ReadResponse, SubscribeRequest, SubscribeResponse,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::status::Refusal;
use super::{Shared, latest, read, subscribe};

/// Hands events out.
pub(crate) struct Query {
    shared: Arc<Shared>,
}

impl Query {
    /// On what the services share.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
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
    type ReadStream = ReceiverStream<Result<ReadResponse, Status>>;
    type SubscribeStream = ReceiverStream<Result<SubscribeResponse, Status>>;
    type AggregateStream = ReceiverStream<Result<AggregateResponse, Status>>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let stream = read::serve(self.shared.clone(), request.into_inner(), self.permit()?)?;
        Ok(Response::new(stream))
    }

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let stream = subscribe::serve(self.shared.clone(), request.into_inner(), self.permit()?)?;
        Ok(Response::new(stream))
    }

    async fn get_latest(
        &self,
        request: Request<GetLatestRequest>,
    ) -> Result<Response<GetLatestResponse>, Status> {
        latest::get_latest(&self.shared, request.into_inner()).await.map(Response::new)
    }

    async fn list_signals(
        &self,
        request: Request<ListSignalsRequest>,
    ) -> Result<Response<ListSignalsResponse>, Status> {
        latest::list_signals(&self.shared, request.into_inner()).await.map(Response::new)
    }

    async fn aggregate(
        &self,
        _: Request<AggregateRequest>,
    ) -> Result<Response<Self::AggregateStream>, Status> {
        Err(Refusal::not_served_yet("Aggregate").into())
    }

    async fn lookup_offset(
        &self,
        _: Request<LookupOffsetRequest>,
    ) -> Result<Response<LookupOffsetResponse>, Status> {
        Err(Refusal::not_served_yet("LookupOffset").into())
    }
}
