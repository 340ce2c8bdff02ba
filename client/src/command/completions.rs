//! `downlink completions`: what a shell needs to complete the command's arguments.

use std::io::Write as _;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Arguments;
use super::standard_output::StandardOutput;

/// Prints a script that completes the arguments of `downlink` in a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink completions bash > ~/.local/share/bash-completion/completions/downlink
  downlink completions fish > ~/.config/fish/completions/downlink.fish")]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        // Into memory first: a pipe that closes early is no panic.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "downlink", &mut script);
        Ok(StandardOutput::new().write_all(&script)?)
    }
}
