//! A file into the log: a thread reads ahead of what is sent, and what became of it is summed up.

use std::time::Duration;

use anyhow::ensure;
use downlink_client::append::Totals;
use serde_json::json;
use tokio::sync::mpsc;

use super::Format;
use super::output::{Printer, grouped};

/// Rows that are handed over at once, and how many such chunks wait to be sent.
const CHUNK_ROWS: usize = 1000;
pub(super) const CHUNKS_AHEAD: usize = 8;

/// What the reading thread hands over.
pub(super) enum Chunk<T> {
    /// The last of the rows that the log has already.
    Resumed(T),
    /// Rows to send.
    Next(Vec<T>),
}

/// What the reading thread has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    good: u64,
    bad: u64,
}

/// Reads to the end, or until nobody takes the chunks any more. The first `resumed` rows are in the log already. A bad
/// row for which `on_bad` has an error ends the reading when what came before it has been handed over.
pub(super) fn read_ahead<T, B>(
    mut next: impl FnMut() -> anyhow::Result<Option<Result<T, B>>>,
    resumed: u64,
    mut on_bad: impl FnMut(B) -> anyhow::Result<()>,
    chunks: &mpsc::Sender<Chunk<T>>,
) -> anyhow::Result<Seen> {
    let (mut seen, mut rows, mut end) = (Seen::default(), Vec::with_capacity(CHUNK_ROWS), Ok(()));
    while let Some(row) = next()? {
        let row = match row {
            Ok(row) => row,
            Err(bad) => {
                seen.bad += 1;
                end = on_bad(bad);
                if end.is_err() {
                    break;
                }
                continue;
            }
        };
        seen.good += 1;
        let chunk = if seen.good == resumed {
            Chunk::Resumed(row)
        } else if seen.good > resumed {
            rows.push(row);
            if rows.len() < CHUNK_ROWS {
                continue;
            }
            Chunk::Next(std::mem::replace(&mut rows, Vec::with_capacity(CHUNK_ROWS)))
        } else {
            continue;
        };
        if chunks.blocking_send(chunk).is_err() {
            return Ok(seen);
        }
    }
    // Nobody there means that sending has failed, which says so itself.
    let _ = chunks.blocking_send(Chunk::Next(rows));
    end.map(|()| seen)
}

/// What became of a file.
pub(super) struct Summary {
    pub(super) file: String,
    pub(super) totals: Totals,
    /// Events that were in the log before.
    pub(super) resumed: u64,
    pub(super) seen: Seen,
    pub(super) took: Duration,
}

impl Summary {
    /// Prints it, unless the log has more of the file than there is.
    pub(super) fn print(&self, format: Format) -> anyhow::Result<()> {
        let Self { file, totals, resumed, seen, took } = self;
        ensure!(
            seen.good >= *resumed,
            "{file}: the log has {resumed} events of this file, which has only {}; give --epoch to append it anew",
            seen.good
        );
        let (sent, seconds) = (totals.durable_events, took.as_secs_f64());
        let rate = sent as f64 / seconds;
        let mut printer = Printer::new(format);
        match format {
            Format::Json => printer.json(&json!({
                "file": file,
                "events_sent": sent,
                "events_resumed": resumed,
                "skipped_rows": seen.bad,
                "already_complete": sent == 0,
                "seconds": seconds,
                "events_per_second": rate.round(),
                "reconnects": totals.reconnects,
                "last_offset": totals.last_offset,
            }))?,
            Format::Human if sent == 0 && *resumed > 0 => {
                let resumed = grouped(*resumed);
                printer.text(&format!("all {resumed} events of {file} are in the log already\n"))?;
            }
            Format::Human => printer.text(&format!(
                "{} events sent in {seconds:.1} s ({}/s), {} were there already, {} rows skipped\n",
                grouped(sent),
                grouped(rate as u64),
                grouped(*resumed),
                grouped(seen.bad)
            ))?,
        }
        Ok(printer.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is handed over of the numbers from 1; the bad ones are errors.
    fn handed_over(count: u64, resumed: u64, bad: &[u64], fail: bool) -> (Vec<u64>, anyhow::Result<Seen>) {
        let (sender, mut chunks) = mpsc::channel(100);
        let mut numbers = 1..=count;
        let next =
            || Ok(numbers.next().map(|number| if bad.contains(&number) { Err(number) } else { Ok(number) }));
        let on_bad = |number| if fail { Err(anyhow::anyhow!("{number}")) } else { Ok(()) };
        let seen = read_ahead(next, resumed, on_bad, &sender);
        drop(sender);
        let mut rows = Vec::new();
        while let Some(chunk) = chunks.blocking_recv() {
            match chunk {
                Chunk::Resumed(row) => assert_eq!(row, resumed),
                Chunk::Next(next) => rows.extend(next),
            }
        }
        (rows, seen)
    }

    #[test]
    fn everything_behind_what_is_known_is_handed_over_once() {
        let (rows, seen) = handed_over(2_500, 700, &[], false);
        assert_eq!(rows, (701..=2_500).collect::<Vec<_>>());
        assert_eq!(seen.unwrap(), Seen { good: 2_500, bad: 0 });
    }

    #[test]
    fn a_bad_row_is_left_out_or_the_end() {
        let (rows, seen) = handed_over(5, 0, &[3], false);
        assert_eq!((rows, seen.unwrap()), (vec![1, 2, 4, 5], Seen { good: 4, bad: 1 }));
        let (rows, seen) = handed_over(5, 0, &[3], true);
        assert_eq!((rows, seen.unwrap_err().to_string().as_str()), (vec![1, 2], "3"));
    }
}
