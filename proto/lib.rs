//! The wire API of Downlink, generated from `proto/downlink/v1/*.proto` at build time.

/// Package `downlink.v1`: messages, clients and servers.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        clippy::restriction,
        reason = "generated code"
    )]
    tonic::include_proto!("downlink.v1");
}

/// The file of the API that says what an `Event` is, and all that is in it, as it was written.
pub const TYPES_PROTO: &str = include_str!("downlink/v1/types.proto");

/// The encoded descriptors of the whole API, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
