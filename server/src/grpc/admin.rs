//! `AdminService`: looks after the log.

mod verify;

use std::sync::Arc;

use downlink_proto::v1::admin_service_server::AdminService;
use downlink_proto::v1::{
    CreateBackupRequest, CreateBackupResponse, ErrorReason, GetRetentionRequest, GetRetentionResponse,
    RollSegmentRequest, RollSegmentResponse, SetRetentionRequest, SetRetentionResponse, TruncateLogRequest,
    TruncateLogResponse, VerifyLogRequest,
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
    /// Few at a time: each reads all there is.
    verifications: Arc<Semaphore>,
}

impl Admin {
    /// On what the services share.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let verifications_max = shared.config.verifications_max;
        let verifications = Arc::new(Semaphore::new(verifications_max));
        shared.metrics.permits.watch("verifications", &verifications, verifications_max);
        Self { shared, rolls: Arc::new(Semaphore::new(1)), verifications }
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    type VerifyLogStream = verify::Frames;
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
        request: Request<VerifyLogRequest>,
    ) -> Result<Response<Self::VerifyLogStream>, Status> {
        let Ok(turn) = self.verifications.clone().try_acquire_owned() else {
            let message = "the log is being verified already: `verifications_max` bounds how often at once";
            return Err(Refusal::new(ErrorReason::Overloaded, message).into());
        };
        Ok(Response::new(verify::serve(self.shared.clone(), request.into_inner(), turn).await?))
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
