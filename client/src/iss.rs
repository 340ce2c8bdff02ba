//! The International Space Station's public telemetry as a source: its items, its times, its recordings.

mod breaker;
pub mod catalogue;
pub mod clock;
pub mod contact;
pub mod feed;
pub mod live;
pub mod recording;
pub mod simulator;
pub mod time;
pub mod update;
