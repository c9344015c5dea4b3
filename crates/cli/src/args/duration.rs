//! Durations as people write them.
//!
//! Ours rather than jiff's or humantime's: those accept months, fractions and ISO 8601 as well, and
//! an option that reads `1m` as a month in one place is worse than these lines.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// Parses a whole number of seconds, minutes, hours, days or weeks: `45s`, `30m`, `12h`, `7d`,
/// `2w`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "a duration is a number with a unit, such as 12h or 7d".to_owned();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let seconds: u64 = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u64>().map_err(|_| wrong())?;
    let seconds = number.checked_mul(seconds).filter(|seconds| *seconds <= 100 * 366 * 86_400);
    seconds.map(Duration::from_secs).ok_or_else(|| format!("{text} is more than a hundred years"))
}

/// A duration, which may be zero.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) struct DurationArg(pub(crate) Duration);

impl FromStr for DurationArg {
    type Err = String;

    fn from_str(text: &str) -> Result<DurationArg, String> {
        parse(text).map(DurationArg)
    }
}

impl TryFrom<String> for DurationArg {
    type Error = String;

    fn try_from(text: String) -> Result<DurationArg, String> {
        text.parse()
    }
}

/// How long records are kept; `None` for ever.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) struct RetentionArg(pub(crate) Option<Duration>);

impl FromStr for RetentionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<RetentionArg, String> {
        if text == "for-ever" {
            return Ok(RetentionArg(None));
        }
        match parse(text)? {
            Duration::ZERO => Err("at least 1s is needed; --ledger none records nothing".to_owned()),
            time => Ok(RetentionArg(Some(time))),
        }
    }
}

impl TryFrom<String> for RetentionArg {
    type Error = String;

    fn try_from(text: String) -> Result<RetentionArg, String> {
        text.parse()
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
        assert_eq!("for-ever".parse(), Ok(RetentionArg(None)));
        assert!("0d".parse::<RetentionArg>().is_err());
    }
}
