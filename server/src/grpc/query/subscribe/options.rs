//! The options of a subscription: what may be asked for, and what makes no sense.

use std::time::Duration;

use downlink_proto::v1::{self, OnSlow, report::Mode};

use crate::follow::WhenSlow;
use crate::grpc::convert::{clamped_duration, duration};
use crate::grpc::query::request::{choice, invalid};
use crate::grpc::status::Refusal;
use crate::report::{Deadband, Rule, Spacing, Which};

const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
const HEARTBEAT_MAX: Duration = Duration::from_secs(3600);
const RESEND_MIN: Duration = Duration::from_millis(100);
const BATCH_DELAY_MAX: Duration = Duration::from_secs(10);

/// The rule that `report` asks for; `None` if every event is to be sent as it comes.
pub(super) fn rule(report: &v1::Report) -> Result<Option<Rule>, Refusal> {
    let mode = choice::<Mode>(report.mode, "report.mode")?;
    let deadband = Deadband::new(report.deadband)
        .ok_or_else(|| invalid("report.deadband", "must be a finite number, 0 or more"))?;
    let min_interval = length(report.min_interval, "report.min_interval")?;
    let resend =
        length(report.resend_interval, "report.resend_interval")?.map(|resend| resend.max(RESEND_MIN));
    let which = match mode {
        Mode::OnChange => Which::Changes(deadband),
        Mode::Unspecified | Mode::All | Mode::Sample if report.deadband == 0.0 => Which::All,
        Mode::Unspecified | Mode::All | Mode::Sample => {
            return Err(invalid("report.deadband", "goes with MODE_ON_CHANGE only"));
        }
    };
    let spacing = match (mode, min_interval) {
        (Mode::Sample, None) => return Err(invalid("report.min_interval", "MODE_SAMPLE needs one")),
        (Mode::Sample, Some(period)) => Spacing::Sampled(period),
        (Mode::Unspecified | Mode::All | Mode::OnChange, None) => Spacing::None,
        (Mode::Unspecified | Mode::All | Mode::OnChange, Some(interval)) => Spacing::AtLeast(interval),
    };
    if resend.zip(min_interval).is_some_and(|(resend, min_interval)| resend < min_interval) {
        return Err(invalid("report.resend_interval", "must not be shorter than min_interval"));
    }
    let rule = Rule { which, spacing, resend };
    let is_everything = rule == Rule { which: Which::All, spacing: Spacing::None, resend: None };
    Ok((!is_everything).then_some(rule))
}

/// What becomes of a slow reader.
pub(super) fn when_slow(on_slow: i32) -> Result<WhenSlow, Refusal> {
    Ok(match choice::<OnSlow>(on_slow, "on_slow")? {
        OnSlow::Unspecified | OnSlow::CatchUp => WhenSlow::CatchUp,
        OnSlow::Conflate => WhenSlow::Conflate,
        OnSlow::Disconnect => WhenSlow::Disconnect,
    })
}

/// How long events wait for company.
pub(super) fn batch_delay(asked: Option<prost_types::Duration>) -> Result<Duration, Refusal> {
    Ok(length(asked, "max_batch_delay")?.unwrap_or_default().min(BATCH_DELAY_MAX))
}

/// After how much silence a heartbeat is due.
pub(super) fn heartbeat(asked: Option<prost_types::Duration>, standard_ms: u64) -> Result<Duration, Refusal> {
    match asked {
        None => Ok(Duration::from_millis(standard_ms)),
        Some(asked) => clamped_duration(asked, "heartbeat_interval", (HEARTBEAT_MIN, HEARTBEAT_MAX)),
    }
}

/// A length of time; `None` if it is zero or left out.
fn length(asked: Option<prost_types::Duration>, field: &str) -> Result<Option<Duration>, Refusal> {
    let length = asked.map(|asked| duration(asked, field)).transpose()?;
    Ok(length.filter(|length| !length.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    fn field(report: &v1::Report) -> String {
        rule(report).unwrap_err().into_problem().field
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let report = |mode: Mode| v1::Report { mode: mode.into(), ..v1::Report::default() };
        for deadband in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(field(&v1::Report { deadband, ..report(Mode::OnChange) }), "report.deadband");
        }
        for mode in [Mode::Unspecified, Mode::All, Mode::Sample] {
            let with_deadband = v1::Report { deadband: 1.0, min_interval: seconds(1), ..report(mode) };
            assert_eq!(field(&with_deadband), "report.deadband");
        }
        assert_eq!(field(&report(Mode::Sample)), "report.min_interval");
        assert_eq!(
            field(&v1::Report { min_interval: seconds(0), ..report(Mode::Sample) }),
            "report.min_interval"
        );
        assert_eq!(
            field(&v1::Report { min_interval: seconds(-1), ..report(Mode::All) }),
            "report.min_interval"
        );
        assert_eq!(
            field(&v1::Report { resend_interval: seconds(-1), ..report(Mode::All) }),
            "report.resend_interval"
        );
        let short = v1::Report { resend_interval: seconds(1), min_interval: seconds(2), ..report(Mode::All) };
        assert_eq!(field(&short), "report.resend_interval");
        assert_eq!(field(&v1::Report { mode: 9, ..v1::Report::default() }), "report.mode");
        assert_eq!(batch_delay(seconds(-1)).unwrap_err().into_problem().field, "max_batch_delay");
        assert_eq!(when_slow(9).unwrap_err().into_problem().field, "on_slow");
    }

    #[test]
    fn defaults_need_no_state_and_lengths_are_clamped() {
        let all = v1::Report { mode: Mode::All.into(), initial_values: true, ..v1::Report::default() };
        assert_eq!((rule(&v1::Report::default()).unwrap(), rule(&all).unwrap()), (None, None));
        let nanos = Some(prost_types::Duration { seconds: 0, nanos: 1 });
        let resent = rule(&v1::Report { resend_interval: nanos, ..all }).unwrap().unwrap();
        assert_eq!(resent.resend, Some(RESEND_MIN));
        assert_eq!(batch_delay(seconds(100)).unwrap(), BATCH_DELAY_MAX);
        let heartbeats = [seconds(-5), None, seconds(i64::MAX)].map(|asked| heartbeat(asked, 7).unwrap());
        assert_eq!(heartbeats, [HEARTBEAT_MIN, Duration::from_millis(7), HEARTBEAT_MAX]);
    }
}
