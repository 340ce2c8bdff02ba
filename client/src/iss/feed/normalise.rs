//! From the source's words to events: the time in UTC, the value by the item's nature, doubts as quality and attributes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use downlink_proto::v1::{Event, Quality, Value, value::Kind};
use prost_types::Timestamp;

use crate::iss::catalogue::Nature;
use crate::iss::clock::StationClock;
use crate::iss::time::hours_text;
use crate::iss::update::{LIVE_CLASS, Update};

/// Longer texts are garbage.
const TEXT_BYTES_MAX: usize = 1024;
/// More items than the station has, many times over, are garbage too.
const ITEMS_MAX: usize = 4096;

/// Why an update says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reject {
    #[error("its name is none that a signal can have")]
    Name,
    #[error("there are too many items")]
    Items,
    #[error("it has no value")]
    NoValue,
    #[error("its value is not what the item measures")]
    Value,
    #[error("its time is none of a year")]
    Time,
    #[error("it is too long")]
    TooLong,
}

/// Makes events of updates.
#[derive(Debug)]
pub(super) struct Normaliser {
    prefix: String,
    source: String,
    items: HashMap<Arc<str>, (Arc<str>, Nature)>,
}

/// An event, its signal's name once more to share.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Normal {
    pub(super) signal: Arc<str>,
    pub(super) event: Event,
}

impl Normaliser {
    pub(super) fn new(prefix: &str, source: &str) -> Self {
        Self { prefix: prefix.to_owned(), source: source.to_owned(), items: HashMap::new() }
    }

    /// The event that an update is, while values are live or while they are repeated.
    pub(super) fn event(
        &mut self,
        update: &Update,
        clock: &StationClock,
        is_repeated: bool,
        now: &Timestamp,
    ) -> Result<Normal, Reject> {
        let texts = [&update.time_stamp, &update.value, &update.status_class, &update.calibrated_data];
        if texts.iter().any(|text| text.as_deref().is_some_and(|text| text.len() > TEXT_BYTES_MAX)) {
            return Err(Reject::TooLong);
        }
        let (signal, nature) = self.item(&update.item)?;
        let value = update.value.as_deref().filter(|value| !value.is_empty()).ok_or(Reject::NoValue)?;
        let value = nature.value(value).ok_or(Reject::Value)?;
        let hours = update.time_stamp.as_deref().ok_or(Reject::Time)?;
        let time = clock.time_of(update, now).ok_or(Reject::Time)?;
        let is_doubted = !is_good(update);
        let quality = match (is_repeated, is_doubted) {
            (true, _) => Quality::Stale,
            (false, true) => Quality::Uncertain,
            (false, false) => Quality::Good,
        };
        let event = Event {
            signal: signal.to_string(),
            event_time: Some(time),
            value: Some(Value { kind: Some(value) }),
            quality: quality.into(),
            source: self.source.clone(),
            attributes: attributes(update, hours, &time, is_doubted),
            ..Event::default()
        };
        Ok(Normal { signal, event })
    }

    fn item(&mut self, item: &Arc<str>) -> Result<(Arc<str>, Nature), Reject> {
        if let Some((signal, nature)) = self.items.get(item) {
            return Ok((Arc::clone(signal), *nature));
        }
        if item.is_empty() || item.len() + self.prefix.len() > 255 || item.contains(char::is_control) {
            return Err(Reject::Name);
        }
        if self.items.len() >= ITEMS_MAX {
            return Err(Reject::Items);
        }
        let (signal, nature): (Arc<str>, _) = (format!("{}{item}", self.prefix).into(), Nature::of(item));
        self.items.insert(Arc::clone(item), (Arc::clone(&signal), nature));
        Ok((signal, nature))
    }
}

/// Whether its class is that of live values. An update without a class is not doubted: recordings have none.
pub(super) fn is_good(update: &Update) -> bool {
    update.status_class.as_deref().is_none_or(|class| class == LIVE_CLASS)
}

/// What the event's other fields do not say. Indicator and colour only repeat the class, so they are kept where that is
/// out of the ordinary.
fn attributes(update: &Update, hours: &str, time: &Timestamp, is_doubted: bool) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    if hours_text(time).as_deref() != Some(hours) {
        attributes.insert("iss.time_stamp".to_owned(), hours.to_owned());
    }
    let doubts = [
        ("iss.status_class", &update.status_class),
        ("iss.status_indicator", &update.status_indicator),
        ("iss.status_color", &update.status_color),
    ];
    let calibrated = [("iss.calibrated_data", &update.calibrated_data)];
    for (key, text) in doubts.into_iter().filter(|_| is_doubted).chain(calibrated) {
        match text {
            Some(text) if !text.is_empty() && text.len() <= TEXT_BYTES_MAX => {
                attributes.insert(key.to_owned(), text.clone());
            }
            Some(_) | None => {}
        }
    }
    attributes
}

/// The value of an event that was made here.
pub(super) fn kind(event: &Event) -> Option<&Kind> {
    event.value.as_ref()?.kind.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{parse_rfc3339, rfc3339};
    use proptest::prelude::*;

    fn event(update: &Update, is_repeated: bool) -> Result<Event, Reject> {
        let now = parse_rfc3339("2018-10-12T05:00:00Z").unwrap();
        let mut normaliser = Normaliser::new("iss/", "lightstreamer/ISSLIVE");
        normaliser.event(update, &StationClock::default(), is_repeated, &now).map(|normal| normal.event)
    }

    #[test]
    fn an_update_is_an_event() {
        let tank = event(&Update::live("NODE3000005", "6844.9875", "12"), false).unwrap();
        assert_eq!((&*tank.signal, &*tank.source), ("iss/NODE3000005", "lightstreamer/ISSLIVE"));
        assert_eq!(rfc3339(&tank.event_time.unwrap()), "2018-10-12T04:59:15Z");
        assert_eq!((kind(&tank), tank.quality()), (Some(&Kind::DoubleValue(12.0)), Quality::Good));
        assert!(tank.attributes.is_empty());
        let state = event(&Update::live("NODE3000004", "6844.9875", "16"), true).unwrap();
        assert_eq!((kind(&state), state.quality()), (Some(&Kind::IntValue(16)), Quality::Stale));
    }

    #[test]
    fn what_would_be_lost_is_kept_in_attributes() {
        let odd = Update {
            status_class: Some("2".to_owned()),
            status_color: Some("#ff0000".to_owned()),
            status_indicator: Some(String::new()),
            calibrated_data: Some("12 %".to_owned()),
            ..Update::live("NODE3000005", "6844.98750", "12")
        };
        let odd = event(&odd, false).unwrap();
        let attributes: Vec<_> = odd.attributes.iter().map(|(key, text)| (&**key, &**text)).collect();
        let expected = [
            ("iss.calibrated_data", "12 %"),
            ("iss.status_class", "2"),
            ("iss.status_color", "#ff0000"),
            ("iss.time_stamp", "6844.98750"),
        ];
        assert_eq!((&attributes[..], odd.quality()), (&expected[..], Quality::Uncertain));
    }

    #[test]
    fn what_makes_no_sense_is_rejected() {
        let of = |item, hours, value| event(&Update::live(item, hours, value), false).unwrap_err();
        assert_eq!(of("", "6844", "1"), Reject::Name);
        assert_eq!(of("NODE3000005", "0", "1"), Reject::Time);
        assert_eq!(of("NODE3000005", "6844", ""), Reject::NoValue);
        assert_eq!(of("NODE3000005", "6844", "full"), Reject::Value);
        assert_eq!(of("NODE3000005", "6844", &"1".repeat(2000)), Reject::TooLong);
        let null = Update { item: "NODE3000005".into(), ..Update::default() };
        assert_eq!(event(&null, false).unwrap_err(), Reject::NoValue);
    }

    #[test]
    fn the_number_of_items_is_bounded() {
        let mut normaliser = Normaliser::new("iss/", "");
        let of = |normaliser: &mut Normaliser, n| {
            let update = Update::live(format!("X{n}"), "6844", "1");
            normaliser.event(&update, &StationClock::default(), false, &Timestamp::default())
        };
        assert!((0..ITEMS_MAX).all(|n| of(&mut normaliser, n).is_ok()));
        assert_eq!(of(&mut normaliser, ITEMS_MAX), Err(Reject::Items));
        assert!(of(&mut normaliser, 0).is_ok());
    }

    proptest! {
        /// Whatever a server sends: an event, or a reason why not.
        #[test]
        fn garbage_is_survived(item in ".{0,300}", hours in ".{0,40}", value in ".{0,40}", class in ".{0,5}") {
            let garbage = Update { status_class: Some(class), ..Update::live(item, hours, value) };
            let _ = event(&garbage, false);
        }
    }
}
