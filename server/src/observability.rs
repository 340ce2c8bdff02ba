//! What the server tells of itself: its log lines, of which can be changed at any time which are written, and its traces.

mod links;
mod place;
mod span;
mod tracer;
mod work;

use std::io::{self, IsTerminal as _};
use std::panic;
use std::sync::{Mutex, OnceLock};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

pub(crate) use self::links::Links;
pub(crate) use self::place::Place;
pub(crate) use self::span::{Began, Kind, Span};
pub(crate) use self::tracer::Tracer;
pub(crate) use self::work::trace;
use crate::config::{Config, LogFormat, LogOutput};
use crate::sync::lock;

/// Which lines are written. A process has one log, whatever runs in it.
static FILTER: OnceLock<Filter> = OnceLock::new();

struct Filter {
    handle: reload::Handle<EnvFilter, Registry>,
    text: Mutex<String>,
}

/// Writes log lines from here on, panics included.
pub fn start(config: &Config) {
    let is_terminal = match config.log_output {
        LogOutput::Stdout => io::stdout().is_terminal(),
        LogOutput::Stderr => io::stderr().is_terminal(),
    };
    let is_json = match config.log_format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let (format, terminal) =
        (if is_json { LogFormat::Json } else { LogFormat::Text }, Terminal { has_colours: is_terminal });
    let lines = match config.log_output {
        LogOutput::Stdout => lines(format, terminal, io::stdout),
        LogOutput::Stderr => lines(format, terminal, io::stderr),
    };
    // The settings have been checked.
    let filter = parsed(&config.log_filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    // An error means that the process has a subscriber already, which is then the one to use.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = FILTER.set(Filter { handle, text: Mutex::new(config.log_filter.clone()) });
    }
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "panic");
    }));
}

/// What is known of where the lines go.
struct Terminal {
    has_colours: bool,
}

/// The registry behind a filter that can be changed.
type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

fn lines<W>(format: LogFormat, terminal: Terminal, writer: W) -> Lines
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_ansi(terminal.has_colours);
    if format == LogFormat::Json { lines.json().with_span_list(false).boxed() } else { lines.boxed() }
}

/// Which lines are written; `None` where another subscriber has the say.
#[must_use]
pub fn filter() -> Option<String> {
    FILTER.get().map(|filter| lock(&filter.text).clone())
}

/// Whether this says which lines are to be written.
pub(crate) fn is_filter(text: &str) -> bool {
    parsed(text).is_ok()
}

/// Values of fields are compared as they are: a pattern could take for ever.
fn parsed(text: &str) -> Result<EnvFilter, String> {
    if text.trim().is_empty() {
        return Err("an empty filter says nothing: write a level such as \"info\", or \"off\"".to_owned());
    }
    let bare = text
        .split(',')
        .map(str::trim)
        .find(|part| !part.contains(['=', '[', ']', '{', '}']) && part.parse::<LevelFilter>().is_err());
    if let Some(bare) = bare {
        return Err(format!(
            "{bare:?} is no level: write error, warn, info, debug, trace or off, or TARGET=LEVEL"
        ));
    }
    let parsed = EnvFilter::builder().with_regex(false).parse(text);
    parsed.map_err(|error| format!("{text:?} is no filter: {error}"))
}

/// Writes these lines from here on, such as "info" or "warn,downlink_server=debug".
///
/// # Errors
/// What is wrong with it; then it stays as it was.
pub fn set_filter(text: &str) -> Result<(), String> {
    let parsed = parsed(text)?;
    let filter = FILTER.get().ok_or("the log is not the server's own")?;
    // Twice: one of the two may be what the filter of the time leaves out.
    tracing::info!(filter = text, "log lines are to be written by another filter");
    {
        let mut current = lock(&filter.text);
        filter.handle.reload(parsed).map_err(|error| error.to_string())?;
        text.clone_into(&mut current);
    }
    tracing::info!(filter = text, "log lines are written by another filter from here on");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What has been written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_within_a_call_whose_trace_is_kept_tell_which() {
        let place = Place::of_bytes(&[7; 25]).unwrap();
        for format in [LogFormat::Text, LogFormat::Json] {
            let (written, (filter, _)) = (Written::default(), reload::Layer::new(EnvFilter::new("warn")));
            let writer = written.clone();
            let lines = lines(format, Terminal { has_colours: false }, move || writer.clone());
            tracing::subscriber::with_default(
                tracing_subscriber::registry().with(filter).with(lines),
                || {
                    place.log_span().in_scope(|| tracing::warn!("inside"));
                    tracing::warn!("outside");
                },
            );
            let text = String::from_utf8(lock(&written.0).clone()).unwrap();
            let (inside, outside) = text.split_once('\n').unwrap();
            for id in ["07".repeat(16), "07".repeat(8)] {
                assert!(inside.contains(&id), "{inside}");
            }
            assert!(outside.contains("outside") && !outside.contains(&"07".repeat(8)), "{outside}");
        }
    }
}
