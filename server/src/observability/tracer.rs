//! Which spans are kept, and their way to Jaeger or whoever else takes OTLP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, IdGenerator as _, RandomIdGenerator, SpanData, SpanProcessor as _,
};

use super::place::Place;
use super::span::Span;
use crate::config::Config;

/// How long spans are gathered before they are sent.
const GATHER_MS: u64 = 1_000;
/// The most spans in one message.
const MESSAGE_SPANS_MAX: usize = 512;

/// Decides which spans are kept, and sends them on. Cheap to clone. Without an endpoint it keeps none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracer(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    processor: BatchSpanProcessor,
    /// Of the lower halves of trace ids, those below this are sampled.
    sampled_below: u64,
    scope: InstrumentationScope,
    counts: Arc<Counts>,
}

/// What became of spans.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    lost: AtomicU64,
}

impl Tracer {
    /// By `config`; within a runtime.
    ///
    /// # Errors
    /// If the endpoint is none. Whether anybody listens there is not asked.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        if config.trace_endpoint.is_empty() {
            return Ok(Self::default());
        }
        let counts = Arc::<Counts>::default();
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&config.trace_endpoint)
            .with_timeout(Duration::from_millis(config.trace_export_ms_max))
            .build()
            .with_context(|| format!("cannot send traces to {:?}", config.trace_endpoint))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(config.trace_queue_spans_max)
            .with_max_export_batch_size(MESSAGE_SPANS_MAX.min(config.trace_queue_spans_max))
            .with_scheduled_delay(Duration::from_millis(GATHER_MS))
            .build();
        let mut processor = BatchSpanProcessor::new(Counted { exporter, counts: counts.clone() }, batches);
        processor.set_resource(&resource());
        let share = f64::from(config.trace_sample_percent) / 100.0;
        Ok(Self(Some(Arc::new(Inner {
            processor,
            sampled_below: (share * u64::MAX as f64) as u64,
            scope: InstrumentationScope::builder("downlink").with_version(env!("CARGO_PKG_VERSION")).build(),
            counts,
        }))))
    }

    /// Whether anything is ever kept.
    pub(crate) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The place of a new span: in the trace of `parent`, kept if that is, or in one of its own, of which a share is kept.
    pub(crate) fn begin(&self, parent: Option<&Place>) -> Place {
        let (ids, none) = (RandomIdGenerator::default(), TraceState::NONE);
        let (trace_id, flags, state) = match parent {
            Some(Place(parent)) => (parent.trace_id(), parent.trace_flags(), parent.trace_state().clone()),
            None => {
                let trace_id = ids.new_trace_id();
                let lower = u128::from_be_bytes(trace_id.to_bytes()) as u64;
                let is_sampled = self.0.as_ref().is_some_and(|inner| lower < inner.sampled_below);
                (trace_id, if is_sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED }, none)
            }
        };
        Place(SpanContext::new(trace_id, ids.new_span_id(), flags, false, state))
    }

    /// Keeps a span if it is sampled or has failed. Never waits.
    pub(crate) fn keep(&self, span: Span) {
        if span.place.is_sampled() || span.has_failed() {
            self.keep_always(span);
        }
    }

    /// Keeps a span whatever its trace is. Never waits.
    pub(crate) fn keep_always(&self, mut span: Span) {
        let Some(inner) = &self.0 else { return };
        let place = &span.place.0;
        let state = place.trace_state().clone();
        span.place =
            Place(SpanContext::new(place.trace_id(), place.span_id(), TraceFlags::SAMPLED, false, state));
        inner.processor.on_end(span.into_data(inner.scope.clone()));
    }

    /// Sends what is left, for at most so long. Blocks.
    pub(crate) fn end(&self, wait_max: Duration) {
        if let Some(inner) = &self.0 {
            // What cannot be sent is counted.
            let _ = inner.processor.shutdown_with_timeout(wait_max);
            let Counts { sent, lost } = &*inner.counts;
            let (sent, lost) = (sent.load(Ordering::Relaxed), lost.load(Ordering::Relaxed));
            tracing::info!(sent, lost, "spans");
        }
    }
}

/// What all spans of this server have in common.
fn resource() -> Resource {
    Resource::builder_empty()
        .with_service_name("downlink-server")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// An exporter that counts.
#[derive(Debug)]
struct Counted {
    exporter: SpanExporter,
    counts: Arc<Counts>,
}

impl opentelemetry_sdk::trace::SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let sent = self.exporter.export(batch).await;
        let count = if sent.is_ok() { &self.counts.sent } else { &self.counts.lost };
        count.fetch_add(spans, Ordering::Relaxed);
        sent.map_err(|error: OTelSdkError| {
            tracing::debug!(%error, spans, "spans were not taken");
            error
        })
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
