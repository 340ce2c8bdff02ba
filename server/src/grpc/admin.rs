//! `AdminService`: looks after the log.

use std::sync::Arc;

use downlink_proto::v1::admin_service_server::AdminService;
use downlink_proto::v1::{
    CreateBackupRequest, CreateBackupResponse, ErrorReason, GetRetentionRequest, GetRetentionResponse,
    RollSegmentRequest, RollSegmentResponse, SetRetentionRequest, SetRetentionResponse, TruncateLogRequest,
    TruncateLogResponse, VerifyLogRequest, VerifyLogResponse,
};
use downlink_storage::Wait;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Shared;
use super::status::{Refusal, status};

/// Looks after the log.
pub(crate) struct Admin {
    shared: Arc<Shared>,
    /// One at a time: a roll may take a reader's thread for as long as sealing takes.
    rolls: Arc<Semaphore>,
}

impl Admin {
    /// On what the services share.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, rolls: Arc::new(Semaphore::new(1)) }
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    type VerifyLogStream = ReceiverStream<Result<VerifyLogResponse, Status>>;
    type CreateBackupStream = ReceiverStream<Result<CreateBackupResponse, Status>>;

    async fn roll_segment(
        &self,
        request: Request<RollSegmentRequest>,
    ) -> Result<Response<RollSegmentResponse>, Status> {
        let Ok(permit) = self.rolls.clone().try_acquire_owned() else {
            return Err(Refusal::new(ErrorReason::Overloaded, "a segment is being rolled already").into());
        };
        let wait = if request.into_inner().wait_until_sealed { Wait::UntilSealed } else { Wait::No };
        let log = self.shared.log.clone();
        let roll = move || {
            let result = log.roll(wait);
            drop(permit);
            result
        };
        let first_offset = self.shared.unary("roll", roll).await?.map_err(status)?;
        Ok(Response::new(RollSegmentResponse { first_offset: first_offset.get() }))
    }

    async fn verify_log(
        &self,
        _: Request<VerifyLogRequest>,
    ) -> Result<Response<Self::VerifyLogStream>, Status> {
        Err(Refusal::not_served_yet("VerifyLog").into())
    }

    async fn create_backup(
        &self,
        _: Request<CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        Err(Refusal::not_served_yet("CreateBackup").into())
    }

    async fn get_retention(
        &self,
        _: Request<GetRetentionRequest>,
    ) -> Result<Response<GetRetentionResponse>, Status> {
        Err(Refusal::not_served_yet("GetRetention").into())
    }

    async fn set_retention(
        &self,
        _: Request<SetRetentionRequest>,
    ) -> Result<Response<SetRetentionResponse>, Status> {
        Err(Refusal::not_served_yet("SetRetention").into())
    }

    async fn truncate_log(
        &self,
        _: Request<TruncateLogRequest>,
    ) -> Result<Response<TruncateLogResponse>, Status> {
        Err(Refusal::not_served_yet("TruncateLog").into())
    }
}
