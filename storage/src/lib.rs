//! The event log of Downlink: append-only, durable, embedded.
//!
//! What it promises:
//! - An append that was answered is on disk and stays there: nothing acknowledged is lost, reordered or doubled by
//!   a crash. Offsets are dense, from 1, and never used twice; ingest time never runs backwards.
//! - The blocks are the truth. Indexes, newest values and producers are derived from them, and can be thrown away.
//! - Damage is contained: a block that cannot be read is reported as a gap; its neighbours are read.
//!
//! ```
//! use downlink_storage::{Append, Chunk, Event, Identity, Log, Offset, Options, Quality, Timestamp, Value};
//!
//! let dir = tempfile::tempdir()?;
//! let log = Log::open_dir(dir.path(), Options::standard())?;
//! let event = Event {
//!     signal: "iss/NODE3000005".to_owned(),
//!     event_time: Timestamp::EPOCH,
//!     value: Value::Int(42),
//!     quality: Quality::Good,
//!     source: String::new(),
//!     attributes: Default::default(),
//!     trace_context: Vec::new(),
//! };
//! let (sender, answer) = std::sync::mpsc::channel();
//! let append = Append { events: vec![event].into(), identity: Identity::Anonymous, expected_head: None, note: None };
//! log.append(append, move |appended| drop(sender.send(appended)));
//! assert_eq!(answer.recv()??.first, Some(Offset::FIRST));
//!
//! let Chunk::Block(block) = log.read(Offset::FIRST, None)? else { panic!("a block") };
//! assert_eq!(block.event(0).value.to_value(), Value::Int(42));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod batch;
pub mod block;
pub mod engine;
pub mod event;

mod aggregate;
mod api;
mod ballast;
mod bytes;
mod chain;
mod codec;
mod commit;
mod copy;
mod directory;
mod done;
mod error;
mod facts;
mod index;
mod ingest_time;
mod interner;
mod keys;
mod lock;
mod log;
mod lookup;
mod observer;
mod passes;
mod producer;
mod projection;
mod read;
mod recover;
mod rollup;
mod seal;
mod segment;
mod segments;
mod shared;
mod signal_map;
mod snapshot;
mod threads;
mod verify;

pub use aggregate::{AggregateQuery, Aggregation, Bucket, Buckets, Extremum, Holding, StateRange, Step};
pub use api::{Append, Appended, Identity, Info, Note, Options, Totals, Wait};
pub use batch::Batch;
pub use block::Block;
pub use chain::{Digest, Hashed, LINK_EVENTS};
pub use copy::{Beginning, Copied, CopiedEvent};
pub use error::Error;
pub use event::{
    Clock, Event, EventRef, Offset, Quality, SYSTEM_PREFIX, SignalId, SystemClock, Timestamp, Value, ValueRef,
};
pub use log::Log;
pub use observer::{CommitParts, CommitReport, Observer, Opening, SealOutcome, SealReport};
pub use producer::Opened;
pub use projection::{Latest, SignalInfo};
pub use read::{Chunk, Seek};
pub use shared::State;
pub use signal_map::SignalMap;
pub use threads::give_way;
pub use verify::{Outcome, Verification, Verified};
