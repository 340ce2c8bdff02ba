//! The gRPC side: a room for what comes in, for what is asked, for what goes out, and the front before them all.

mod admin;
mod call;
mod consumer;
mod convert;
mod definition;
mod fields;
mod front;
mod ingest;
mod log;
mod outbox;
mod passage;
mod query;
mod shared;
mod status;

use std::sync::Arc;

use downlink_proto::v1::admin_service_server::AdminServiceServer;
use downlink_proto::v1::consumer_service_server::ConsumerServiceServer;
use downlink_proto::v1::log_service_server::LogServiceServer;
use downlink_proto::v1::query_service_server::QueryServiceServer;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::service::Routes;

pub(crate) use call::measure::rpcs;
#[cfg(test)]
pub(crate) use call::methods::methods;
pub(crate) use front::Front;
pub(crate) use shared::Shared;

/// Everything that is served, but health, which the front has from the beginning.
///
/// # Errors
/// If the API cannot describe itself.
pub(crate) fn services(shared: &Arc<Shared>) -> anyhow::Result<Routes> {
    let config = &shared.config;
    macro_rules! limited {
        ($server:expr) => {
            $server
                .accept_compressed(Zstd)
                .accept_compressed(Gzip)
                .max_decoding_message_size(config.request_bytes_max)
        };
    }
    Ok(Routes::new(ingest::IngestServer::new(shared.clone()))
        .add_service(limited!(QueryServiceServer::new(query::Query::new(shared.clone()))))
        .add_service(limited!(ConsumerServiceServer::new(consumer::Consumers::new(shared.clone()))))
        .add_service(limited!(LogServiceServer::new(log::LogFacts { shared: shared.clone() })))
        .add_service(limited!(AdminServiceServer::new(admin::Admin::new(shared.clone()))))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(downlink_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that the details of errors can be read at a prompt.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
