//! What there is to know of calls beforehand, and how one has ended, as its caller is told.

use downlink_proto::v1::ErrorReason;
use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::methods::{methods, values};
use crate::grpc::status::{DOMAIN, reason_name};
use crate::metrics::Rpcs;

/// All calls that are served, none of which has come yet.
pub(crate) fn rpcs() -> Rpcs {
    let described = [
        downlink_proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let paths = described.into_iter().flat_map(methods).map(|(path, _)| path);
    Rpcs::new(paths.collect(), reasons().collect())
}

/// The reasons there are, as they are described.
fn reasons() -> impl Iterator<Item = &'static str> {
    let values = values(downlink_proto::FILE_DESCRIPTOR_SET, "ErrorReason").into_iter();
    let reasons = values.filter_map(|number| ErrorReason::try_from(number).ok());
    reasons.filter(|reason| *reason != ErrorReason::Unspecified).map(reason_name)
}

/// How a call ends with these headers or trailers, and for which reason if it is an error that names one; `None` if it
/// does not end with them.
pub(super) fn ending(headers: &HeaderMap) -> Option<(Code, String)> {
    let status = Status::from_header_map(headers)?;
    let details = if status.code() == Code::Ok { None } else { status.get_details_error_info() };
    let reason = details.filter(|info| info.domain == DOMAIN);
    Some((status.code(), reason.map_or_else(String::new, |info| info.reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_and_reason_is_known() {
        let methods = methods(downlink_proto::FILE_DESCRIPTOR_SET);
        assert!(methods.iter().any(|(path, _)| path == "downlink.v1.IngestService/Append"), "{methods:?}");
        assert!(reasons().any(|reason| reason == "DISK_FULL"));
    }
}
