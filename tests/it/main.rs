//! Downlink from the outside: real processes, real gRPC, files on disk.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is how a test reports")]

mod append;
mod append_stream;
mod batches;
mod clients;
mod config;
mod damage;
mod errors;
mod harness;
mod kill;
mod latest;
mod not_yet;
mod producer;
mod producers;
mod random;
mod read;
mod refusal;
mod resume;
mod server;
mod subscribe;
mod tidy;
mod values;
