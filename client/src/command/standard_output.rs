//! Standard output, whose errors say that it is.

use std::io::{self, Stdout, Write};

/// Standard output.
pub(super) struct StandardOutput(Stdout);

impl StandardOutput {
    pub(super) fn new() -> Self {
        Self(io::stdout())
    }
}

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(named)
    }
}

/// Of the same kind, by which a closed pipe is known.
fn named(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))
}
