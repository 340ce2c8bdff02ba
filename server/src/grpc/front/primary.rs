//! Where the log is changed whose copy a read replica has: the one place that says which calls only its primary takes.

use std::sync::Arc;

use downlink_proto::v1::ErrorReason;

use crate::config::Config;
use crate::grpc::status::Refusal;

/// The methods that change the log, or what it keeps.
const CHANGES: [&str; 7] = [
    "/downlink.v1.IngestService/Append",
    "/downlink.v1.IngestService/AppendStream",
    "/downlink.v1.IngestService/DefineSignals",
    "/downlink.v1.ConsumerService/CommitCheckpoint",
    "/downlink.v1.ConsumerService/DeleteConsumer",
    "/downlink.v1.AdminService/SetRetention",
    "/downlink.v1.AdminService/TruncateLog",
];

/// The server that this one follows.
#[derive(Clone, Debug)]
pub(super) struct Primary {
    url: Arc<str>,
}

impl Primary {
    /// That of a read replica; `None` for a server that is none.
    pub(super) fn of(config: &Config) -> Option<Self> {
        let is_replica = !config.follow_bootstrap_servers.is_empty();
        is_replica.then(|| Self { url: config.follow_primary_url.as_str().into() })
    }

    /// Why a call is refused here, if it is one for the primary.
    pub(super) fn refuse(&self, path: &str) -> Option<Refusal> {
        let url = &self.url;
        let message =
            || format!("this server is a read replica, which only reads: do this at its primary, {url}");
        let refusal = || Refusal::new(ErrorReason::ReadReplica, message()).with("primary_url", url);
        CHANGES.contains(&path).then(refusal)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::tests::methods::methods;

    /// A new method has to be put on one of the lists.
    #[test]
    fn it_is_known_of_every_method_whether_it_changes_the_log() {
        let reads = [
            "QueryService/Read",
            "QueryService/Subscribe",
            "QueryService/GetLatest",
            "QueryService/Aggregate",
            "QueryService/ListSignals",
            "QueryService/LookupOffset",
            "ConsumerService/GetConsumer",
            "ConsumerService/ListConsumers",
            "LogService/GetLogInfo",
            // Where a segment ends is not what it holds.
            "AdminService/RollSegment",
            "AdminService/VerifyLog",
            "AdminService/CreateBackup",
            "AdminService/GetRetention",
        ];
        let known: BTreeSet<_> = reads
            .iter()
            .map(|method| format!("/downlink.v1.{method}"))
            .chain(CHANGES.map(str::to_owned))
            .collect();
        assert_eq!(known, methods().into_iter().collect());
    }
}
