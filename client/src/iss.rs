//! The International Space Station's public telemetry as a source: its items, its times, its recordings.

pub mod catalogue;
pub mod clock;
pub mod contact;
pub mod recording;
pub mod time;
pub mod update;
