//! The `downlink` command: a telemetry log at a prompt and in a pipe.

mod command;

use std::process::ExitCode;

use clap::Parser;

/// It was called wrongly.
const MISUSE: u8 = 2;
/// Everything was read that is not damaged, or something was found wrong.
const INCOMPLETE: u8 = 3;

fn main() -> ExitCode {
    let arguments = command::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error.into()),
    };
    let result = runtime.block_on(command::run(arguments));
    // Whatever still waits for a read of standard input or a file waits in vain.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the pipe has had enough: that is not a failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

/// One line, for people: what was wrong, and what to do.
fn failure(error: &anyhow::Error) -> ExitCode {
    let (advice, code) = match error.downcast_ref() {
        Some(downlink_client::Error::ConnectionLost { .. }) => ("; run it again", ExitCode::FAILURE),
        Some(downlink_client::Error::InvalidUrl { .. }) => {
            (", as --url or in DOWNLINK_URL", ExitCode::from(MISUSE))
        }
        Some(_) | None => ("", ExitCode::FAILURE),
    };
    eprintln!("downlink: {}{advice}", format!("{error:#}").replace('\n', "; "));
    if error.is::<command::Incomplete>() || error.is::<command::Unsound>() {
        ExitCode::from(INCOMPLETE)
    } else {
        code
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| io_error_kind(cause) == Some(std::io::ErrorKind::BrokenPipe))
}

/// CSV and JSON writers hide the cause from the chain.
fn io_error_kind(cause: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    if let Some(error) = cause.downcast_ref::<csv::Error>() {
        return if let csv::ErrorKind::Io(error) = error.kind() { Some(error.kind()) } else { None };
    }
    if let Some(error) = cause.downcast_ref::<serde_json::Error>() {
        return error.io_error_kind();
    }
    cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
}
