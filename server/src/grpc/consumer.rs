//! `ConsumerService`: described, not served yet.

use downlink_proto::v1::consumer_service_server::ConsumerService;
use downlink_proto::v1::{
    CommitCheckpointRequest, CommitCheckpointResponse, DeleteConsumerRequest, DeleteConsumerResponse,
    GetConsumerRequest, GetConsumerResponse, ListConsumersRequest, ListConsumersResponse,
};
use tonic::{Request, Response, Status};

use super::status::Refusal;

/// Says that it is not there yet.
pub(crate) struct Consumers;

#[tonic::async_trait]
impl ConsumerService for Consumers {
    async fn commit_checkpoint(
        &self,
        _: Request<CommitCheckpointRequest>,
    ) -> Result<Response<CommitCheckpointResponse>, Status> {
        Err(Refusal::not_served_yet("CommitCheckpoint").into())
    }

    async fn get_consumer(
        &self,
        _: Request<GetConsumerRequest>,
    ) -> Result<Response<GetConsumerResponse>, Status> {
        Err(Refusal::not_served_yet("GetConsumer").into())
    }

    async fn list_consumers(
        &self,
        _: Request<ListConsumersRequest>,
    ) -> Result<Response<ListConsumersResponse>, Status> {
        Err(Refusal::not_served_yet("ListConsumers").into())
    }

    async fn delete_consumer(
        &self,
        _: Request<DeleteConsumerRequest>,
    ) -> Result<Response<DeleteConsumerResponse>, Status> {
        Err(Refusal::not_served_yet("DeleteConsumer").into())
    }
}
