//! Downlink from the outside: real processes, real gRPC, files on disk.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is how a test reports")]

mod harness;
