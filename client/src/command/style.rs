//! Colours with a meaning, on terminals that show any. `NO_COLOR`, a pipe and `--color never` are without.

use std::io;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use downlink_client::v1::Quality;

/// Heads of columns.
pub(super) const HEADER: Style = Style::new().bold();
/// What to be careful with.
pub(super) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
/// What not to use, or what does not work.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// All is well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// The name of a state.
pub(super) const STATE: Style = AnsiColor::Cyan.on_default();

/// Takes what `--color` says for the whole process.
pub(super) fn choose(choice: clap::ColorChoice) {
    match choice {
        clap::ColorChoice::Auto => ColorChoice::Auto,
        clap::ColorChoice::Always => ColorChoice::Always,
        clap::ColorChoice::Never => ColorChoice::Never,
    }
    .write_global();
}

/// Whether standard output is to be coloured.
pub(super) fn is_wanted() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// How a quality is shown.
pub(super) fn of_quality(quality: Quality) -> Style {
    match quality {
        Quality::Good | Quality::Unspecified => Style::new(),
        Quality::Stale | Quality::Uncertain => DOUBTFUL,
        Quality::Bad => BAD,
    }
}

/// A text in a style, where colours are wanted.
pub(super) fn painted(text: &str, style: Style) -> String {
    if is_wanted() { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// Adds a text in a style.
pub(super) fn push(line: &mut String, text: &str, style: Style) {
    line.push_str(&format!("{style}{text}{style:#}"));
}
