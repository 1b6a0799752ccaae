//! Instants and periods as they are written on the command line.

use jiff::Timestamp;

use crate::error::CliError;
use crate::pki::Validity;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Reads an instant in RFC 3339 as Unix seconds.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn parse_instant(text: &str) -> Result<i64, String> {
    text.parse::<Timestamp>().map(Timestamp::as_second).map_err(|e| format!("not an instant in RFC 3339: {e}"))
}

/// Writes Unix milliseconds in RFC 3339, UTC; the number itself if the calendar does not hold it.
#[must_use]
pub fn show_millis(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |t| format!("{t:.3}"))
}

/// Writes Unix seconds in RFC 3339, UTC; the number itself if the calendar does not hold it.
#[must_use]
pub fn show_seconds(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.to_string())
}

/// From when to when a certificate shall be good.
#[derive(Clone, Debug, clap::Args)]
pub struct ValidityArgs {
    /// First instant of the certificate's validity, RFC 3339; default: now
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant, allow_hyphen_values = true)]
    pub not_before: Option<i64>,
    /// Last instant of the certificate's validity, RFC 3339
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant, conflicts_with = "valid_days")]
    pub not_after: Option<i64>,
    /// Length of the validity in days, instead of its end
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub valid_days: Option<u32>,
}

impl ValidityArgs {
    /// The validity, counted from `now` and `default_days` long where nothing else was asked for.
    ///
    /// # Errors
    /// [`CliError::Usage`] if it is empty or out of the calendar.
    pub fn validity(&self, now: i64, default_days: u32) -> Result<Validity, CliError> {
        let not_before = self.not_before.unwrap_or(now);
        let days = i64::from(self.valid_days.unwrap_or(default_days));
        Validity::new(not_before, self.not_after.unwrap_or(not_before.saturating_add(days * DAY)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_rfc_3339() {
        assert_eq!(parse_instant("2026-01-02T03:04:05Z"), Ok(1_767_323_045));
        assert_eq!(parse_instant("2026-01-02T03:04:05+01:00"), Ok(1_767_319_445));
        assert!(parse_instant("2026-01-02").is_err());
        assert!(parse_instant("yesterday").is_err());
        assert_eq!(show_millis(1_767_323_045_007), "2026-01-02T03:04:05.007Z");
        assert_eq!(show_seconds(1_767_323_045), "2026-01-02T03:04:05Z");
        assert_eq!(show_millis(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn a_validity_has_defaults() {
        let args = |not_before, not_after, valid_days| ValidityArgs { not_before, not_after, valid_days };
        let of = |args: ValidityArgs| args.validity(1000, 2).map(|v| (v.not_before, v.not_after)).unwrap();
        assert_eq!(of(args(None, None, None)), (1000, 1000 + 2 * DAY));
        assert_eq!(of(args(Some(500), None, Some(1))), (500, 500 + DAY));
        assert_eq!(of(args(Some(500), Some(700), None)), (500, 700));
        assert!(args(Some(700), Some(500), None).validity(0, 1).is_err());
    }
}
