//! Downlink from the outside: real processes, real gRPC, files on disk.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is how a test reports")]

mod aggregate;
mod append;
mod append_stream;
mod as_of;
mod backwards;
mod batches;
mod bench;
mod clients;
mod columns;
mod config;
mod consumers;
mod damage;
mod day;
mod definitions;
mod disk;
mod errors;
mod harness;
mod import;
mod in_process;
mod kill;
mod latest;
mod memory;
mod not_yet;
mod pacing;
mod places;
mod plot;
mod positions;
mod producer;
mod producers;
mod python;
mod random;
mod random_reads;
mod read;
mod readme;
mod refusal;
mod report;
mod restart;
mod resume;
mod server;
mod slow;
mod strace;
mod subscribe;
mod tidy;
mod values;
