//! The screen's life: drawn anew at each look, until the one before it has seen enough.

use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::{self, event};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::screen::Screen;
use super::source::Source;
use crate::command::style;

/// How long the keyboard is listened to before it is asked whether anybody still wants to know.
const LISTEN: Duration = Duration::from_millis(100);
/// Keys ahead of the screen.
const KEYS_AHEAD: usize = 16;

/// What somebody at the keyboard does.
enum Input {
    Quit,
    Redraw,
}

/// Shows the figures until q, Esc or Ctrl-C, and leaves the terminal as it was.
pub(super) async fn show(source: Source, every: Duration) -> anyhow::Result<()> {
    crossterm::style::force_color_output(style::is_wanted());
    let mut terminal = ratatui::try_init()?;
    let shown = run(&mut terminal, source, every).await;
    ratatui::try_restore()?;
    shown
}

async fn run(terminal: &mut DefaultTerminal, mut source: Source, every: Duration) -> anyhow::Result<()> {
    let mut inputs = listen();
    let mut screen = Screen::new(every);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is now, when there is nothing to compare with.
    ticks.tick().await;
    loop {
        terminal.draw(|frame| screen.draw(frame))?;
        tokio::select! {
            biased;
            input = inputs.recv() => match input.transpose()? {
                Some(Input::Redraw) => {}
                Some(Input::Quit) | None => return Ok(()),
            },
            _ = ticks.tick() => match source.next().await {
                Ok(figures) => screen.take(figures),
                Err(error) => screen.lost(&error),
            },
        }
    }
}

/// What comes from the keyboard, read on a thread that ends once nobody takes it any more.
fn listen() -> mpsc::Receiver<std::io::Result<Input>> {
    let (sender, inputs) = mpsc::channel(KEYS_AHEAD);
    tokio::task::spawn_blocking(move || {
        while !sender.is_closed() {
            let input = match input() {
                Ok(None) => continue,
                Ok(Some(input)) => Ok(input),
                Err(error) => Err(error),
            };
            let is_over = input.is_err();
            if sender.blocking_send(input).is_err() || is_over {
                return;
            }
        }
    });
    inputs
}

fn input() -> std::io::Result<Option<Input>> {
    if !event::poll(LISTEN)? {
        return Ok(None);
    }
    let event = event::read()?;
    if let Event::Resize(..) = event {
        return Ok(Some(Input::Redraw));
    }
    let Event::Key(key) = event else { return Ok(None) };
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let is_quit = is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
    Ok((is_quit && key.kind == KeyEventKind::Press).then_some(Input::Quit))
}
