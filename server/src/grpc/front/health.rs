//! Health by the standard protocol, from the first moment on: for each service, whether what it is for is served.

use std::pin::Pin;

use downlink_proto::v1::admin_service_server;
use downlink_proto::v1::consumer_service_server;
use downlink_proto::v1::ingest_service_server;
use downlink_proto::v1::log_service_server;
use downlink_proto::v1::query_service_server;
use futures::Stream;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::health::{Changes, Health, Kind, Without};

/// What the paths of its methods begin with.
pub(super) const PATH: &str = "/grpc.health.v1.Health/";
/// What is known under this name is whether the mirror keeps up, where there is one.
const MIRROR: &str = "mirror";

/// The service.
#[derive(Clone)]
pub(super) struct Service {
    health: Health,
}

/// The service, on what is known of the server.
pub(super) fn serve(health: Health) -> HealthServer<Service> {
    HealthServer::new(Service { health })
}

impl Service {
    /// How a service is; `None` if there is none of that name.
    fn status(&self, name: &str) -> Option<ServingStatus> {
        let conditions = self.health.conditions();
        let has = |kind| conditions.iter().any(|condition| condition.kind == kind);
        let without =
            conditions.iter().map(|condition| condition.kind.without()).max().unwrap_or(Without::Nothing);
        let answers = without < Without::Everything;
        let is_served = match name {
            ""
            | query_service_server::SERVICE_NAME
            | consumer_service_server::SERVICE_NAME
            | log_service_server::SERVICE_NAME
            | admin_service_server::SERVICE_NAME => answers,
            ingest_service_server::SERVICE_NAME => without == Without::Nothing && !has(Kind::Replica),
            MIRROR if self.health.has_mirror() => answers && !has(Kind::MirrorBehind),
            _ => return None,
        };
        Some(if is_served { ServingStatus::Serving } else { ServingStatus::NotServing })
    }
}

fn response(status: Option<ServingStatus>) -> HealthCheckResponse {
    use tonic_health::pb::health_check_response::ServingStatus as Wire;

    let status = match status {
        Some(ServingStatus::Serving) => Wire::Serving,
        Some(ServingStatus::NotServing) => Wire::NotServing,
        Some(ServingStatus::Unknown) => Wire::Unknown,
        None => Wire::ServiceUnknown,
    };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.status(&request.into_inner().service) {
            None => Err(Status::not_found("there is no such service")),
            status => Ok(Response::new(response(status))),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watch = Watch {
            changes: self.health.changes(),
            service: self.clone(),
            name: request.into_inner().service,
            told: None,
            is_over: false,
        };
        let statuses = futures::stream::unfold(watch, |mut watch| async move {
            let status = watch.next().await?;
            Some((Ok(response(status)), watch))
        });
        Ok(Response::new(Box::pin(statuses)))
    }
}

/// Somebody who wants to know how a service is, for as long as they like.
struct Watch {
    changes: Changes,
    service: Service,
    name: String,
    told: Option<Option<ServingStatus>>,
    is_over: bool,
}

impl Watch {
    /// How it is, when that is news; `None` after the drain has been told: a watch would keep its connection open for ever.
    async fn next(&mut self) -> Option<Option<ServingStatus>> {
        let tasks = self.service.health.tasks().clone();
        while !self.is_over {
            self.is_over = tasks.is_draining();
            let status = self.service.status(&self.name);
            if self.told != Some(status) {
                self.told = Some(status);
                return Some(status);
            }
            if !self.is_over {
                tokio::select! {
                    () = self.changes.next() => {}
                    () = tasks.draining() => {}
                }
            }
        }
        None
    }
}
