//! Health by the standard protocol: what the log can do, until the drain.

use downlink_proto::v1::admin_service_server;
use downlink_proto::v1::consumer_service_server;
use downlink_proto::v1::ingest_service_server;
use downlink_proto::v1::log_service_server;
use downlink_proto::v1::query_service_server;
use downlink_storage::{Log, State};
use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::Shared;
use crate::shutdown::Tasks;

/// Every service by name, the server as a whole among them.
const SERVICES: [&str; 6] = [
    "",
    ingest_service_server::SERVICE_NAME,
    query_service_server::SERVICE_NAME,
    consumer_service_server::SERVICE_NAME,
    log_service_server::SERVICE_NAME,
    admin_service_server::SERVICE_NAME,
];

/// The service, kept up to date by a task.
pub(super) async fn serve(shared: &Shared) -> HealthServer<HealthService> {
    let reporter = HealthReporter::new();
    for service in SERVICES {
        reporter.set_service_status(service, ServingStatus::Serving).await;
    }
    let health = HealthService::from_health_reporter(reporter.clone());
    let (log, tasks) = (shared.log.clone(), shared.tasks.clone());
    // A replica takes no appends, whatever state its log is in.
    let most = if shared.replica.is_some() { ServingStatus::NotServing } else { ServingStatus::Serving };
    shared.tasks.spawn("health", report(reporter, log, tasks, most));
    HealthServer::new(health)
}

/// Tells who asks what the log can do.
async fn report(mut reporter: HealthReporter, log: Log, tasks: Tasks, ingest_at_best: ServingStatus) {
    let (news, mut changes) = watch::channel(());
    log.on_state(move |_| {
        news.send_replace(());
    });
    loop {
        changes.mark_unchanged();
        let ingest = match log.state() {
            // A full disk may have room again any moment; each append says how it is.
            State::Serving | State::DiskFull(_) => ingest_at_best,
            State::ReadOnly(reason) => {
                tracing::error!(reason, "the log is read-only until the server is restarted");
                ServingStatus::NotServing
            }
        };
        reporter.set_service_status(ingest_service_server::SERVICE_NAME, ingest).await;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            () = tasks.draining() => break,
        }
    }
    tasks.draining().await;
    for service in SERVICES {
        reporter.set_service_status(service, ServingStatus::NotServing).await;
        // Who watches is told that, and then let go: a watch would keep its connection open for ever.
        reporter.clear_service_status(service).await;
    }
}
