//! How the fields of an update are written: by turns in every manner that the protocol allows.

use downlink_client::iss::update::Update;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

/// What always has to be encoded.
const NECESSARY: AsciiSet = CONTROLS.add(b'|').add(b'%');
/// What has to be encoded where it comes first.
const FIRST: AsciiSet = NECESSARY.add(b'#').add(b'$').add(b'^');

/// What the fields of an item are now: text, or null.
pub(super) type Values = Vec<Option<String>>;

/// A field that items have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field(fn(&Update) -> &Option<String>);

impl Field {
    /// The field of this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(Self(match name {
            "TimeStamp" => |update| &update.time_stamp,
            "Value" => |update| &update.value,
            "Status.Class" => |update| &update.status_class,
            "Status.Indicator" => |update| &update.status_indicator,
            "Status.Color" => |update| &update.status_color,
            "CalibratedData" => |update| &update.calibrated_data,
            _ => return None,
        }))
    }

    /// What it is in an update.
    pub(super) fn value(self, update: &Update) -> Option<String> {
        (self.0)(update).clone()
    }
}

/// The values as the last part of a `U`, after those that were sent before; the manner changes with the number.
pub(super) fn values(before: Option<&Values>, now: &Values, number: u64) -> String {
    let (mut parts, mut unchanged) = (Vec::new(), 0);
    for (place, value) in now.iter().enumerate() {
        if before.is_some_and(|before| before[place] == *value) && number % 4 != 2 {
            unchanged += 1;
            continue;
        }
        skip(&mut parts, std::mem::take(&mut unchanged), number);
        parts.push(text(value.as_deref(), number));
    }
    skip(&mut parts, unchanged, number);
    parts.join("|")
}

/// Says that so many fields are as they were: by their number or, in another manner, by nothing for each.
fn skip(parts: &mut Vec<String>, unchanged: usize, number: u64) {
    match unchanged {
        0 => {}
        _ if number % 4 == 1 => parts.extend(std::iter::repeat_n(String::new(), unchanged)),
        _ => parts.push(format!("^{unchanged}")),
    }
}

fn text(value: Option<&str>, number: u64) -> String {
    let Some(value) = value else { return "#".to_owned() };
    let Some(first) = value.chars().next() else { return "$".to_owned() };
    if number % 4 == 3 {
        return utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
    }
    let (first, rest) = value.split_at(first.len_utf8());
    format!("{}{}", utf8_percent_encode(first, &FIRST), utf8_percent_encode(rest, &NECESSARY))
}

#[test]
fn fields_are_written_in_every_manner() {
    let list = |texts: &[&str]| texts.iter().map(|text| Some((*text).to_owned())).collect::<Values>();
    let before = list(&["24.5", "1", "24", "", "#0f0"]);
    let mut now = list(&["24.6", "1", "24", "", "#0f0"]);
    assert_eq!(values(None, &before, 0), "24.5|1|24|$|%230f0");
    assert_eq!(values(Some(&before), &now, 0), "24.6|^4");
    assert_eq!(values(Some(&before), &now, 1), "24.6||||");
    assert_eq!(values(Some(&before), &now, 2), "24.6|1|24|$|%230f0");
    assert_eq!(values(Some(&before), &now, 3), "24%2E6|^4");
    now[1] = None;
    now[3] = Some("a|b#%".to_owned());
    assert_eq!(values(Some(&before), &now, 0), "24.6|#|^1|a%7Cb#%25|^1");
}
