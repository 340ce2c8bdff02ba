//! Definitions of signals as JSON objects: what `signals --output json` prints, and `signals define --file` takes in.

use anyhow::{Context as _, bail};
use downlink_client::definition::{SEVERITIES, VALUE_TYPES, period, word};
use downlink_client::v1::{Limit, Signal};
use serde_json::{Map, Value as Json, json};

/// The word for a value, if it has one.
fn name_of<T: PartialEq>(words: &[(&'static str, T)], wanted: &T) -> Option<&'static str> {
    words.iter().find(|(_, meaning)| meaning == wanted).map(|(word, _)| *word)
}

/// The word for the type of a signal's values, if it is known.
pub(super) fn value_type(signal: &Signal) -> Option<&'static str> {
    name_of(&VALUE_TYPES, &signal.value_type())
}

/// What is defined of a signal.
pub(super) fn to_json(signal: &Signal) -> Map<String, Json> {
    let limit = |limit: &Limit| json!({"severity": name_of(&SEVERITIES, &limit.severity()), "low": limit.low, "high": limit.high});
    let states: Map<_, _> =
        signal.states.iter().map(|(code, label)| (code.to_string(), label.as_str().into())).collect();
    let period = signal.expected_period.map(|period| period.seconds as f64 + f64::from(period.nanos) / 1e9);
    let fields = [
        ("name", signal.name.as_str().into()),
        ("display_name", signal.display_name.as_str().into()),
        ("description", signal.description.as_str().into()),
        ("unit", signal.unit.as_str().into()),
        ("value_type", value_type(signal).into()),
        ("states", states.into()),
        ("expected_period_seconds", period.into()),
        ("limits", signal.limits.iter().map(limit).collect()),
    ];
    fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect()
}

/// The definition that a line of JSON means. What only the log knows may be there and is ignored.
pub(super) fn from_json(line: &str) -> anyhow::Result<Signal> {
    let object: Map<String, Json> = serde_json::from_str(line).context("not a JSON object")?;
    let mut signal = Signal::default();
    for (name, field) in &object {
        match (name.as_str(), field) {
            ("signal_id" | "event_count" | "latest", _) | (_, Json::Null) => {}
            ("name", Json::String(text)) => signal.name.clone_from(text),
            ("display_name", Json::String(text)) => signal.display_name.clone_from(text),
            ("description", Json::String(text)) => signal.description.clone_from(text),
            ("unit", Json::String(text)) => signal.unit.clone_from(text),
            ("value_type", Json::String(text)) => {
                let found = word(&VALUE_TYPES, text);
                signal.value_type = found.with_context(|| format!("'{text}' is no type of values"))?.into();
            }
            ("states", Json::Object(states)) => {
                for (code, label) in states {
                    let number = code.parse().with_context(|| format!("'{code}' is no code of a state"))?;
                    let label =
                        label.as_str().with_context(|| format!("the label of {code} is not a text"))?;
                    signal.states.insert(number, label.to_owned());
                }
            }
            ("expected_period_seconds", Json::Number(number)) => {
                let found = number.as_f64().and_then(period);
                signal.expected_period = Some(found.with_context(|| format!("{number} s is no period"))?);
            }
            ("limits", Json::Array(limits)) => {
                signal.limits = limits.iter().map(limit).collect::<anyhow::Result<_>>()?;
            }
            (name, _) => bail!("field '{name}' is unknown or of the wrong type"),
        }
    }
    if signal.name.is_empty() {
        bail!("no 'name'");
    }
    Ok(signal)
}

fn limit(json: &Json) -> anyhow::Result<Limit> {
    let severity = json["severity"].as_str().and_then(|text| word(&SEVERITIES, text));
    let severity = severity.with_context(|| format!("{json} has no severity that is known here"))?.into();
    let end = |name: &str| {
        let given = Some(&json[name]).filter(|end| !end.is_null());
        let number = |end: &Json| end.as_f64().with_context(|| format!("'{name}' of {json} is not a number"));
        given.map(number).transpose()
    };
    Ok(Limit { severity, low: end("low")?, high: end("high")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use downlink_client::iss::catalogue;

    #[test]
    fn every_definition_of_the_catalogue_comes_back_from_its_json() {
        for signal in catalogue::definitions("iss/") {
            let line = Json::from(to_json(&signal)).to_string();
            assert_eq!(from_json(&line).unwrap(), signal, "{line}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        for (line, named) in [
            (r#"{"unit":"V"}"#, "no 'name'"),
            (r#"{"name":"a","colour":"red"}"#, "'colour'"),
            (r#"{"name":"a","value_type":"float"}"#, "'float'"),
            (r#"{"name":"a","states":{"on":"On"}}"#, "'on'"),
            (r#"{"name":"a","expected_period_seconds":-1}"#, "-1 s"),
            (r#"{"name":"a","limits":[{"low":1}]}"#, "no severity"),
            (r#"{"name":"a","limits":[{"severity":"watch","low":"x"}]}"#, "'low'"),
            ("12", "JSON object"),
        ] {
            let message = format!("{:#}", from_json(line).unwrap_err());
            assert!(message.contains(named), "{line}: {message}");
        }
    }
}
