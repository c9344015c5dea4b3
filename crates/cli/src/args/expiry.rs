//! Times of expiry as people write them.

use std::time::Duration;

use outflow_texts::{ConsoleText, console};

/// A duration from now, or a point in time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ExpiryArg {
    After(Duration),
    /// In nanoseconds since 1970.
    At(i64),
}

impl ExpiryArg {
    /// Parses `30m`, `12h`, `7d`, `2w`, or a time in the form of RFC 3339.
    pub(crate) fn parse(text: &str) -> Result<ExpiryArg, ConsoleText> {
        let wrong = || console!(expiry_wrong);
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return i64::try_from(time.as_nanosecond()).map(ExpiryArg::At).map_err(|_| wrong());
        }
        let after = super::duration::parse(text).map_err(|_| wrong())?;
        if after.is_zero() {
            return Err(wrong());
        }
        Ok(ExpiryArg::After(after))
    }

    /// The time of expiry in nanoseconds since 1970; `now` is in the same unit.
    pub(crate) fn from(self, now: i64) -> i64 {
        match self {
            ExpiryArg::At(time) => time,
            ExpiryArg::After(time) => now.saturating_add(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiries_are_spans_or_times() {
        assert!(matches!(ExpiryArg::parse("7d"), Ok(ExpiryArg::After(time)) if time.as_secs() == 604_800));
        assert!(matches!(ExpiryArg::parse("30m"), Ok(ExpiryArg::After(time)) if time.as_secs() == 1800));
        assert!(matches!(ExpiryArg::parse("1970-01-01T00:00:01Z"), Ok(ExpiryArg::At(1_000_000_000))));
        for wrong in ["", "d", "7", "-1d", "0d", "7y", "4000000000w", "tomorrow", "ä"] {
            assert!(ExpiryArg::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(ExpiryArg::parse("1m").map(|expiry| expiry.from(7)), Ok(60_000_000_007));
    }
}
