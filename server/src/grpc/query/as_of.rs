//! `GetLatest` as of an earlier moment.

use std::sync::Arc;

use downlink_proto::v1::{GetLatestResponse, LatestValue};
use downlink_storage::{Error, Log, Offset, Seek, Timestamp};
use tonic::Status;

use super::known::{latest_value, newest};
use super::request::{Page, invalid};
use crate::grpc::Shared;
use crate::grpc::convert::{timestamp, wire_time};
use crate::grpc::status::{Refusal, status};
use crate::query::as_of::{Past, Search};
use crate::query::filter::Names;

/// Blocks looked at in one turn.
const TURN_BLOCKS: usize = 16;

/// An earlier moment of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// When this was the head.
    Offset(Offset),
    /// This one, by ingest time.
    Time(Timestamp),
}

/// The moment that a request names, if it names one.
pub(crate) fn then(
    offset: Option<u64>,
    time: Option<prost_types::Timestamp>,
) -> Result<Option<Then>, Refusal> {
    match (offset, time) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(invalid("as_of_time", "cannot be set together with `as_of_offset`")),
        (Some(offset), None) => match Offset::new(offset) {
            Some(offset) => Ok(Some(Then::Offset(offset))),
            None => Err(invalid("as_of_offset", "offsets begin at 1")),
        },
        (None, Some(time)) => Ok(Some(Then::Time(timestamp(time, "as_of_time")?))),
    }
}

/// The newest events of the signals wanted, as they were then.
pub(crate) async fn get_latest(
    shared: &Arc<Shared>,
    then: Then,
    names: Names,
    page: Page,
) -> Result<GetLatestResponse, Status> {
    shared.in_time(search(shared, then, names, page)).await?
}

async fn search(
    shared: &Arc<Shared>,
    then: Then,
    names: Names,
    page: Page,
) -> Result<GetLatestResponse, Status> {
    let (log, head) = (shared.log.clone(), shared.log.head());
    let begin = move || {
        let (offset, present) = resolve(&log, then, head)?;
        let candidates = newest(&log, &names, &page)?.take(page.entries_enough());
        let search = Search::new(log.clone(), candidates, offset, page.bytes_max())?;
        Ok::<_, Refusal>((search, offset, present, page))
    };
    let (mut search, offset, present, page) = shared.disk("latest", begin).await??;
    loop {
        let turn = move || {
            let worked =
                (0..TURN_BLOCKS).try_fold(true, |goes_on, _| if goes_on { search.step() } else { Ok(false) });
            (worked, search)
        };
        let (worked, given_back) = shared.disk("latest", turn).await?;
        search = given_back;
        if !worked.map_err(status)? {
            break;
        }
    }
    let log = shared.log.clone();
    let page = move || {
        let (found, is_cut) = search.finish();
        let last = found.last().map(|past| past.name.clone()).unwrap_or_default();
        let entries = found.into_iter().map(|past| Ok((past.name.clone(), value(&log, past, present)?)));
        let (values, mut next_page_token) = page.fill(entries)?;
        if is_cut && next_page_token.is_empty() {
            next_page_token = Page::token(&last);
        }
        Ok::<_, Refusal>(GetLatestResponse { values, next_page_token, as_of_offset: offset.get() })
    };
    Ok(shared.newest("latest", page).await??)
}

/// What there was of a signal.
fn value(log: &Log, past: Past, present: Timestamp) -> Result<Option<LatestValue>, Refusal> {
    let Some(latest) = past.latest else { return Ok(None) };
    let value = latest_value(log, latest, present)?;
    Ok(Some(LatestValue { unchanged_since: past.unchanged_since.map(wire_time), ..value }))
}

/// The head of then, and what was the present.
fn resolve(log: &Log, then: Then, head: Offset) -> Result<(Offset, Timestamp), Refusal> {
    let oldest = log.oldest();
    match then {
        Then::Offset(offset) if offset > head => Err(Error::BeyondHead { offset, head }.into()),
        Then::Offset(offset) if offset < oldest => Err(Error::Truncated { offset, oldest }.into()),
        // Without events there is nothing that could have an age.
        Then::Offset(offset) if offset == oldest => Ok((offset, Timestamp::EPOCH)),
        Then::Offset(offset) => Ok((offset, log.ingest_time(offset.minus(1))?.unwrap_or(Timestamp::EPOCH))),
        Then::Time(time) => {
            // What came at that very moment had come by then.
            let offset = match Timestamp::from_unix_nanos(time.unix_nanos() + 1) {
                Some(next) => log.seek(Seek::IngestTime(next))?.min(head),
                None => head,
            };
            Ok((offset, time))
        }
    }
}
