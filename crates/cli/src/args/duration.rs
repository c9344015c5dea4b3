//! Durations as people write them.
//!
//! Ours rather than jiff's or humantime's: those accept months, fractions and ISO 8601 as well, and
//! an option that reads `1m` as a month in one place is worse than these lines.

use std::str::FromStr;
use std::time::Duration;

use outflow_texts::{ConsoleText, console};

/// Parses a whole number of seconds, minutes, hours, days or weeks: `45s`, `30m`, `12h`, `7d`,
/// `2w`.
pub(crate) fn parse(text: &str) -> Result<Duration, ConsoleText> {
    let wrong = || console!(duration_wrong);
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let seconds: u64 = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        "" if !number.is_empty() => {
            return Err(console!(duration_needs_unit, number));
        }
        _ => return Err(wrong()),
    };
    let number = number.parse::<u64>().map_err(|_| wrong())?;
    let seconds = number.checked_mul(seconds).filter(|seconds| *seconds <= 100 * 366 * 86_400);
    seconds.map(Duration::from_secs).ok_or_else(|| console!(duration_too_long, text))
}

/// A duration, which may be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DurationArg(pub(crate) Duration);

impl DurationArg {
    /// The duration, or `None` for zero, which stands for no limit.
    pub(crate) fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl FromStr for DurationArg {
    type Err = ConsoleText;

    fn from_str(text: &str) -> Result<DurationArg, ConsoleText> {
        parse(text).map(DurationArg)
    }
}

/// Parses a duration of at least a second.
pub(crate) fn non_zero(text: &str) -> Result<DurationArg, ConsoleText> {
    match parse(text)? {
        Duration::ZERO => Err(console!(duration_too_short)),
        time => Ok(DurationArg(time)),
    }
}

/// How long records are kept; `None` for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetentionArg(pub(crate) Option<Duration>);

impl FromStr for RetentionArg {
    type Err = ConsoleText;

    fn from_str(text: &str) -> Result<RetentionArg, ConsoleText> {
        if text == "forever" {
            return Ok(RetentionArg(None));
        }
        match parse(text)? {
            Duration::ZERO => Err(console!(retention_too_short)),
            time => Ok(RetentionArg(Some(time))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in
            [("45s", 45), ("30m", 1_800), ("12 h", 43_200), ("7d", 604_800), ("2w", 1_209_600)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "7", "d", "-1d", "1.5h", "1y", "99999999999999999999s", "9999999w"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("10").unwrap_err().to_string().contains("10s"));
        assert_eq!("forever".parse(), Ok(RetentionArg(None)));
        assert!("0d".parse::<RetentionArg>().is_err());
        assert!(non_zero("0s").is_err() && non_zero("1s").is_ok());
        assert_eq!("0s".parse::<DurationArg>().unwrap().limit(), None);
    }
}
