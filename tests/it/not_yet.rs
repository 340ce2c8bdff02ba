//! What the API describes and this version does not serve says so.

use downlink_proto::v1;
use downlink_proto::v1::admin_service_client::AdminServiceClient;
use tonic::Code;

use crate::harness::Server;
use crate::refusal::{Refusal, refused};

#[track_caller]
fn not_yet(refusal: Refusal) {
    refusal.is(Code::Unimplemented, "NOT_SERVED_YET");
}

#[tokio::test]
async fn methods_that_are_not_served_yet_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut admin = AdminServiceClient::new(server.channel().await);
    not_yet(refused(admin.create_backup(v1::CreateBackupRequest::default()).await));
    not_yet(refused(admin.get_retention(v1::GetRetentionRequest {}).await));
    not_yet(refused(admin.set_retention(v1::SetRetentionRequest::default()).await));
    not_yet(refused(admin.truncate_log(v1::TruncateLogRequest::default()).await));
}
