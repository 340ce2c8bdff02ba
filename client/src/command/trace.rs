//! `--trace`: a trace that the command begins, for the server to go on with.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::{
    FutureExt as _, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, global};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

/// Where the command's own spans go, by OpenTelemetry's names; unless one is set they are not kept.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// How long the command waits at its end for its spans to be taken.
const EXPORT_WAIT_MAX: Duration = Duration::from_secs(3);

/// A trace whose first span is the command.
pub(super) struct Trace {
    provider: SdkTracerProvider,
    context: Context,
}

impl Trace {
    /// Begins one that is to be kept.
    pub(super) fn begin(command: &'static str) -> anyhow::Result<Self> {
        let resource = Resource::builder().with_service_name("downlink").build();
        let mut provider =
            SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOn).with_resource(resource);
        if ENDPOINTS.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
            let exporter = SpanExporter::builder().with_tonic().build();
            provider = provider.with_batch_exporter(exporter.context("cannot send traces")?);
        }
        let provider = provider.build();
        global::set_tracer_provider(provider.clone());
        let tracer = provider.tracer("downlink");
        let span = tracer.span_builder(command).with_kind(SpanKind::Internal).start(&tracer);
        Ok(Self { provider, context: Context::new().with_span(span) })
    }

    /// What it is found by.
    pub(super) fn id(&self) -> String {
        self.context.span().span_context().trace_id().to_string()
    }

    /// Does the command's work in it, and ends it.
    pub(super) async fn run<T>(self, work: impl Future<Output = T>) -> T {
        let done = work.with_context(self.context.clone()).await;
        self.context.span().end();
        let sent = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(EXPORT_WAIT_MAX));
        if let Ok(Err(error)) = sent.await {
            eprintln!("downlink: the command's own part of the trace was not taken: {error}");
        }
        done
    }
}
