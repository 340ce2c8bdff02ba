//! Which spans are kept, and their way to Jaeger or whoever else takes OTLP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

use super::links::Links;
use super::place::Place;
use super::span::Span;
use crate::config::Config;
use crate::metrics::Spans;

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
    /// Spans that have not been sent.
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
    counts: Arc<Spans>,
}

impl Tracer {
    /// By `config`, counting in `counts` what becomes of spans; within a runtime.
    ///
    /// # Errors
    /// If the endpoint is none. Whether anybody listens there is not asked.
    pub(crate) fn new(config: &Config, counts: &Arc<Spans>) -> anyhow::Result<Self> {
        if config.trace_endpoint.is_empty() {
            return Ok(Self::default());
        }
        let waiting = Arc::<AtomicUsize>::default();
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
        let counted = Counted { exporter, waiting: waiting.clone(), counts: counts.clone() };
        let mut processor = BatchSpanProcessor::new(counted, batches);
        processor.set_resource(&resource());
        let share = f64::from(config.trace_sample_percent) / 100.0;
        Ok(Self(Some(Arc::new(Inner {
            processor,
            sampled_below: (share * u64::MAX as f64) as u64,
            scope: InstrumentationScope::builder("downlink").with_version(env!("CARGO_PKG_VERSION")).build(),
            waiting,
            waiting_max: config.trace_queue_spans_max,
            counts: counts.clone(),
        }))))
    }

    /// Whether anything is ever kept.
    pub(crate) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// To be told of what events come with, if anything is ever kept.
    pub(crate) fn links(&self) -> Option<Links> {
        self.is_on().then(Links::default)
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

    /// The place of a new span in a trace of its own, which is kept.
    pub(crate) fn begin_kept(&self) -> Place {
        let ids = RandomIdGenerator::default();
        let (trace, span) = (ids.new_trace_id(), ids.new_span_id());
        Place(SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE))
    }

    /// Keeps a span if its trace is kept. Never waits.
    pub(crate) fn keep(&self, span: Span) {
        if span.place.is_sampled() {
            self.keep_always(span);
        }
    }

    /// Keeps a span whatever its trace is. Never waits.
    pub(crate) fn keep_always(&self, mut span: Span) {
        let Some(inner) = &self.0 else { return };
        // The processor has a bound of its own, but does not tell what is beyond it.
        if inner.waiting.fetch_add(1, Ordering::Relaxed) >= inner.waiting_max {
            inner.waiting.fetch_sub(1, Ordering::Relaxed);
            return inner.counts.lost(1);
        }
        let place = &span.place.0;
        let state = place.trace_state().clone();
        span.place =
            Place(SpanContext::new(place.trace_id(), place.span_id(), TraceFlags::SAMPLED, false, state));
        inner.processor.on_end(span.into_data(inner.scope.clone()));
    }

    /// Sends what is left, for at most so long. Blocks.
    pub(crate) fn end(&self, wait_max: Duration) {
        if let Some(inner) = &self.0 {
            // What cannot be sent is lost, as at any other time.
            let _ = inner.processor.shutdown_with_timeout(wait_max);
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
    waiting: Arc<AtomicUsize>,
    counts: Arc<Spans>,
}

impl opentelemetry_sdk::trace::SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        match &sent {
            Ok(()) => self.counts.sent(spans as u64),
            Err(_) => self.counts.lost(spans as u64),
        }
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
