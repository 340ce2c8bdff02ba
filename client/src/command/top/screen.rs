//! What the screen looks like.

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, RenderDirection, Row, Sparkline, Table};

use super::figures::Figures;
use crate::command::length::brief_length;
use crate::command::output::grouped;

/// How many looks back the curve of ingestion goes; wider screens show no more.
const HISTORY: usize = 512;
/// The same as elsewhere in the command.
const LABEL: Style = Style::new().add_modifier(Modifier::BOLD);
const DOUBTFUL: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red);
const GOOD: Style = Style::new().fg(Color::Green);

/// The newest figures, and those before as far as they are drawn.
pub(super) struct Screen {
    every: Duration,
    figures: Option<Figures>,
    trouble: Option<String>,
    /// Events appended in a second, the newest first.
    appended: VecDeque<u64>,
}

impl Screen {
    /// An empty one.
    pub(super) fn new(every: Duration) -> Self {
        Self { every, figures: None, trouble: None, appended: VecDeque::new() }
    }

    /// Shows these from now on.
    pub(super) fn take(&mut self, figures: Figures) {
        self.appended.push_front(figures.ingest.appended as u64);
        self.appended.truncate(HISTORY);
        self.figures = Some(figures);
        self.trouble = None;
    }

    /// Says that there are no newer ones.
    pub(super) fn lost(&mut self, error: &anyhow::Error) {
        self.trouble = Some(format!("{error:#}; trying again"));
    }

    /// Draws it, however small the terminal is.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let [head, ingest, middle, rest, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(5),
            Constraint::Length(10),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(Paragraph::new(self.headline()), head);
        let keys = format!("every {} · q: quit", humantime::format_duration(self.every));
        frame.render_widget(Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM)), foot);
        let Some(figures) = &self.figures else { return };
        self.draw_ingest(frame, ingest, figures);
        let [commits, readers, server] = Layout::horizontal([Constraint::Fill(1); 3]).areas(middle);
        frame.render_widget(boxed("commits", commit_lines(figures)), commits);
        frame.render_widget(boxed("readers and calls", reader_lines(figures)), readers);
        frame.render_widget(boxed("log and process", server_lines(figures)), server);
        let [consumers, permits] = Layout::horizontal([Constraint::Fill(1); 2]).areas(rest);
        frame.render_widget(consumer_table(figures), consumers);
        frame.render_widget(permit_table(figures), permits);
    }

    fn headline(&self) -> Line<'_> {
        if let Some(trouble) = &self.trouble {
            return Line::styled(trouble.as_str(), BAD);
        }
        let Some(figures) = &self.figures else { return Line::from("downlink top") };
        let mut spans = vec![Span::styled(format!("downlink-server {}  ", figures.version), LABEL)];
        if figures.conditions.is_empty() {
            spans.push(Span::styled("serving", GOOD));
        } else {
            spans.push(Span::styled(figures.conditions.join(", ").replace('_', " "), DOUBTFUL));
        }
        if figures.invariant_violations > 0.0 {
            spans.push(Span::styled(format!("  {} invariants violated", figures.invariant_violations), BAD));
        }
        for feed in &figures.feeds {
            let age = feed.newest_age_seconds.map(|age| format!(", newest {} old", brief_length(age as i64)));
            let (name, rate) = (&feed.name, feed.updates_per_second);
            spans.push(Span::raw(format!("  feed {name}: {rate:.1}/s{}", age.unwrap_or_default())));
        }
        Line::from(spans)
    }

    fn draw_ingest(&self, frame: &mut Frame<'_>, area: Rect, figures: &Figures) {
        let ingest = &figures.ingest;
        let mut title = format!("ingest: {} events/s", rate(ingest.appended));
        for (name, of) in [("duplicate", ingest.duplicate), ("rejected", ingest.rejected)] {
            if of > 0.0 {
                title.push_str(&format!(", {} {name}", rate(of)));
            }
        }
        let curve = self.appended.iter().copied().collect::<Vec<_>>();
        let sparkline = Sparkline::default().block(Block::bordered().title(title)).data(curve);
        frame.render_widget(sparkline.direction(RenderDirection::RightToLeft).style(GOOD), area);
    }
}

/// A box of lines that are whole where three of them share a terminal's usual 80 columns.
fn boxed<'a>(title: &'a str, lines: Vec<(&'a str, String)>) -> Paragraph<'a> {
    let lines = lines
        .into_iter()
        .map(|(label, text)| Line::from(vec![Span::styled(format!("{label:12}"), LABEL), Span::raw(text)]));
    Paragraph::new(lines.collect::<Vec<_>>()).block(Block::bordered().title(title))
}

fn commit_lines(figures: &Figures) -> Vec<(&str, String)> {
    let commits = &figures.commits;
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let lines = [
        ("per second", rate(commits.per_second)),
        ("events each", or_none(commits.events.map(rate))),
        ("p50", or_none(commits.median.map(milliseconds))),
        ("p99", or_none(commits.p99.map(milliseconds))),
    ];
    let parts = commits.parts.iter().map(|(part, mean)| (part.as_str(), milliseconds(*mean)));
    lines.into_iter().chain(parts).collect()
}

fn reader_lines(figures: &Figures) -> Vec<(&str, String)> {
    let (readers, calls) = (&figures.readers, &figures.calls);
    let mut lines = vec![("delivered", format!("{}/s", rate(readers.events_per_second)))];
    let states = readers.subscribers.iter().map(|(state, count)| format!("{count} {state}"));
    lines.extend(std::iter::once("subscribers").chain(std::iter::repeat("")).zip(states));
    if let Some(mirrored) = figures.mirrored_offset {
        lines.push(("mirrored to", grouped(mirrored as u64)));
    }
    lines.extend([
        ("calls", format!("{}/s", rate(calls.per_second))),
        ("errors", format!("{}/s", rate(calls.errors_per_second))),
        ("in flight", rate(calls.in_flight)),
    ]);
    lines
}

fn server_lines(figures: &Figures) -> Vec<(&str, String)> {
    let (log, process) = (&figures.log, &figures.process);
    vec![
        ("head", grouped(log.head as u64)),
        ("on disk", bytes(log.disk_bytes)),
        ("per event", format!("{:.1} B", log.event_disk_bytes)),
        ("segments", format!("{} + {} raw", log.sealed_segments, log.raw_segments)),
        ("signals", grouped(log.signals as u64)),
        ("processors", format!("{:.2} busy", process.processors)),
        ("memory", bytes(process.memory_bytes)),
        ("open files", grouped(process.open_files as u64)),
    ]
}

fn consumer_table(figures: &Figures) -> Table<'_> {
    let rows = figures.consumers.iter().map(|consumer| {
        let lag = grouped(consumer.lag_events as u64);
        Row::new([consumer.name.clone(), lag, brief_length(consumer.lag_seconds as i64)])
    });
    let widths = [Constraint::Fill(1), Constraint::Length(15), Constraint::Length(8)];
    table(rows, widths, ["CONSUMER", "EVENTS BEHIND", "TIME"]).block(Block::bordered().title("lag"))
}

fn permit_table(figures: &Figures) -> Table<'_> {
    let rows = figures.permits.iter().map(|permit| {
        let is_scarce = permit.taken >= permit.of * 0.9 && permit.of > 0.0;
        let numbers = [permit.taken, permit.of].map(|number| grouped(number as u64));
        let [taken, of] = numbers;
        Row::new([permit.name.clone(), taken, of]).style(if is_scarce { DOUBTFUL } else { Style::new() })
    });
    let widths = [Constraint::Fill(1), Constraint::Length(12), Constraint::Length(12)];
    table(rows, widths, ["BOUND", "TAKEN", "OF"]).block(Block::bordered().title("queue and bounds"))
}

fn table<'a>(
    rows: impl Iterator<Item = Row<'a>>,
    widths: [Constraint; 3],
    header: [&'a str; 3],
) -> Table<'a> {
    Table::new(rows, widths).header(Row::new(header).style(LABEL))
}

/// A number in a second, exact where it is small.
fn rate(number: f64) -> String {
    if number < 100.0 && number.fract() != 0.0 {
        format!("{number:.1}")
    } else {
        grouped(number.round() as u64)
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1000.0)
}

fn bytes(bytes: f64) -> String {
    indicatif::BinaryBytes(bytes as u64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::top::figures::tests::example;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(screen: &Screen, (width, height): (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn all_that_matters_is_on_a_terminal_of_the_usual_size() {
        let mut screen = Screen::new(Duration::from_secs(1));
        assert!(drawn(&screen, (80, 24)).contains("q: quit"));
        screen.take(example());
        let shown = drawn(&screen, (80, 24));
        for wanted in [
            "downlink-server 1.2.3",
            "disk full",
            "25,000 events/s",
            "per second  250",
            "p50         1.50 ms",
            "p99         1.99 ms",
            "sync        1.50 ms",
            "3 live",
            "51,000",
            "4.28 MiB",
            "32.00 MiB",
            "far",
            "90 s",
            "append_queue",
            "feed demo: 25000.0/s",
        ] {
            assert!(shown.contains(wanted), "no {wanted} in\n{shown}");
        }
        screen.lost(&anyhow::anyhow!("nobody answers"));
        assert!(drawn(&screen, (80, 24)).contains("nobody answers; trying again"));
    }

    #[test]
    fn any_size_will_do() {
        let mut screen = Screen::new(Duration::from_secs(1));
        screen.take(example());
        for size in [(1, 1), (20, 5), (300, 90), (80, 2)] {
            drawn(&screen, size);
        }
    }
}
