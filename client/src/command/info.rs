//! `downlink info`: facts about the log.

use anstyle::Style;
use clap::Args;
use downlink_client::time::rfc3339;
use downlink_client::v1::GetLogInfoResponse;
use downlink_client::v1::get_log_info_response::State;
use serde_json::{Value as Json, json};

use super::output::{Printer, grouped};
use super::value::hex;
use super::{Context, Format, style};

/// Prints identity, ends, totals and size of the log.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink info
  downlink info --output json | jq .head_offset")]
pub(super) struct Info {}

impl Info {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let info = context.connect().await?.info().await?;
        let mut printer = Printer::new(context.format);
        match context.format {
            Format::Human => printer.text(&text(&info))?,
            Format::Json => printer.json(&json(&info))?,
        }
        Ok(printer.flush()?)
    }
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Unspecified => "unknown",
        State::Serving => "serving",
        State::DiskFull => "disk_full",
        State::ReadOnly => "read_only",
        State::Following => "following",
    }
}

fn state_style(state: State) -> Style {
    match state {
        State::Serving | State::Following => style::GOOD,
        State::Unspecified => style::DOUBTFUL,
        State::DiskFull | State::ReadOnly => style::BAD,
    }
}

fn json(info: &GetLogInfoResponse) -> Json {
    let totals = info.totals.unwrap_or_default();
    let mut json = json!({
        "log_id": info.log_id,
        "oldest_offset": info.oldest_offset,
        "head_offset": info.head_offset,
        "durable_offset": info.durable_offset,
        "hash_offset": info.hash_offset,
        "head_hash": hex(&info.head_hash),
        "mirrored_offset": info.mirrored_offset,
        "mirror_problem": info.mirror_problem,
        "received_events": totals.received_events,
        "appended_events": totals.appended_events,
        "duplicate_events": totals.duplicate_events,
        "rejected_events": totals.rejected_events,
        "bytes_on_disk": info.bytes_on_disk,
        "payload_bytes": info.payload_bytes,
        "segments": info.segments,
        "sealed_segments": info.sealed_segments,
        "signals": info.signals,
        "state": state_word(info.state()),
        "state_reason": info.state_reason,
        "commits": info.commits,
        "server_version": info.server_version,
        "oldest_time": info.oldest_time.as_ref().map(rfc3339),
        "newest_time": info.newest_time.as_ref().map(rfc3339),
    });
    if let Some(replica) = &info.replica {
        let behind = replica.time_behind.as_ref();
        json["primary_url"] = json!(replica.primary_url);
        json["followed_topic"] = json!(replica.topic);
        json["events_behind"] = json!(replica.events_behind);
        json["seconds_behind"] =
            json!(behind.map(|behind| behind.seconds as f64 + f64::from(behind.nanos) / 1e9));
        json["follow_problem"] = json!(replica.problem);
        json["followed_duplicates"] = json!(replica.duplicate_events);
    }
    json
}

/// What is in the JSON, a line each, with numbers as people read them.
fn text(info: &GetLogInfoResponse) -> String {
    let Json::Object(fields) = json(info) else { unreachable!("an object is made of fields") };
    let mut text = String::new();
    for (name, field) in fields {
        let shown = match &field {
            Json::String(shown) if name == "state" => style::painted(shown, state_style(info.state())),
            Json::String(shown) if !shown.is_empty() => shown.clone(),
            Json::Number(number) => number.as_u64().map_or_else(|| number.to_string(), grouped),
            Json::String(_) | Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => continue,
        };
        let label = match name.as_str() {
            "oldest_time" => "oldest ingest time".to_owned(),
            "newest_time" => "newest ingest time".to_owned(),
            name => name.replace('_', " "),
        };
        text.push_str(&format!("{label:18} {shown}\n"));
    }
    text
}
