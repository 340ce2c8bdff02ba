//! The client library of Downlink, a telemetry log over gRPC.
//!
//! [`Client`] is a connection: a typed method for each call. [`Appender`] takes a stream of events in, in
//! batches, and sends each exactly once, whatever happens to the connection or the server meanwhile.
//! [`Subscription`] follows the log and resumes by itself; a [`Consumer`] resumes where any process left it. [`Error::is_retryable`] says what a retry can mend.
//!
//! ```no_run
//! use downlink_client::{AppenderOptions, Client, Frame, SubscriptionOptions, event};
//! use futures::StreamExt;
//!
//! # async fn example() -> Result<(), downlink_client::Error> {
//! let client = Client::connect("http://127.0.0.1:50051").await?;
//!
//! // Many events: batched, pipelined, and never twice in the log.
//! let mut appender = client.appender(AppenderOptions::new("weather-station/7")).await?;
//! for celsius in [21.5, 21.6] {
//!     appender.append(&event("station/7/temperature", celsius)).await?;
//! }
//! let totals = appender.finish().await?;
//! println!("{} events are on disk", totals.durable_events);
//!
//! // What comes from now on, where it differs by half a degree.
//! let options = SubscriptionOptions::default().signals(["station/*/temperature"]).on_change(0.5);
//! let mut subscription = client.subscribe(options).await?;
//! while let Some(delivery) = subscription.next().await {
//!     if let Frame::Events(batch) = delivery?.frame {
//!         println!("{} events", batch.events.len());
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod aggregate;
pub mod append;
mod client;
pub mod columns;
mod consumer;
pub mod definition;
mod error;
mod event;
pub mod iss;
mod retry;
mod subscribe;
mod sync;
#[cfg(test)]
mod testing;
pub mod time;
pub mod trace;
mod verify;

pub use aggregate::Aggregate;
pub use append::{Appender, AppenderOptions};
pub use client::{Client, ClientOptions, Replay};
pub use columns::Encoding;
pub use consumer::Consumer;
pub use downlink_proto::v1;
pub use error::{Error, ErrorKind, FieldViolation, Refusal};
pub use event::{IntoValue, event};
pub use opentelemetry;
pub use prost_types::Timestamp;
pub use retry::Backoff;
pub use subscribe::{Delivery, Frame, Subscription, SubscriptionOptions};
pub use verify::Verification;

/// What this crate's calls return.
pub type Result<T> = std::result::Result<T, Error>;
