//! Times as ZIP writes them: DOS date and time in UTC, and 32-bit seconds since 1970.
//!
//! No clock and no time zone: the same files make the same bytes on every machine.

/// 1980-01-01T00:00:00Z, the first moment that DOS knows (APPNOTE 4.4.6).
const FIRST: i64 = 315_532_800;
/// 2107-12-31T23:59:58Z, the last one.
const LAST: i64 = 4_354_819_198;

const DAY: i64 = 86_400;
/// Days from 1980-01-01 to 2100-03-01. 2100 is the one year of the range that breaks the rule of
/// four.
const MARCH_2100: i64 = 43_889;

/// DOS time and date (APPNOTE 4.4.6) in UTC, clamped to what they can say; 1980-01-01 for an
/// unknown time.
pub(crate) fn dos(modified: Option<i64>) -> (u16, u16) {
    let seconds = modified.unwrap_or(FIRST).clamp(FIRST, LAST) - FIRST;
    let (days, second) = (seconds / DAY, seconds % DAY);
    // As if 2100 had a 29 February, so that every four years are alike and begin with the leap
    // year.
    let days = if days >= MARCH_2100 { days + 1 } else { days };
    let (cycle, day) = (days / 1461, days % 1461);
    let (year, day) = if day < 366 { (0, day) } else { ((day - 366) / 365 + 1, (day - 366) % 365) };
    let (month, day) = month_and_day(day, year == 0);

    let date = (4 * cycle + year) << 9 | month << 5 | day;
    let time = (second / 3600) << 11 | (second / 60 % 60) << 5 | (second % 60 / 2);
    // Years reach to 127, months to 12, days to 31, hours to 23: both fit in 16 bits.
    (time as u16, date as u16)
}

/// Month (1-12) and day (1-31) of a day of the year (0-365).
fn month_and_day(mut day: i64, leap: bool) -> (i64, i64) {
    let february = if leap { 29 } else { 28 };
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    (month, day + 1)
}

/// Seconds since 1970 in 32 signed bits, clamped (1901 to 2038).
pub(crate) fn unix32(modified: i64) -> i32 {
    modified.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(modified: i64) -> String {
        let (time, date) = dos(Some(modified));
        let (year, month, day) = (1980 + (date >> 9), date >> 5 & 15, date & 31);
        let (hour, minute, second) = (time >> 11, time >> 5 & 63, (time & 31) * 2);
        format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }

    #[test]
    fn dos_times_are_utc_and_even_seconds() {
        for (seconds, expected) in [
            (315_532_800, "1980-01-01 00:00:00"),
            (320_630_399, "1980-02-28 23:59:58"),
            (320_630_400, "1980-02-29 00:00:00"),
            (320_716_800, "1980-03-01 00:00:00"),
            (347_155_199, "1980-12-31 23:59:58"),
            (347_155_200, "1981-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_700_000_001, "2023-11-14 22:13:20"),
            (2_147_483_648, "2038-01-19 03:14:08"),
            (4_107_542_399, "2100-02-28 23:59:58"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (4_133_980_799, "2100-12-31 23:59:58"),
            (4_133_980_800, "2101-01-01 00:00:00"),
            (4_354_819_199, "2107-12-31 23:59:58"),
        ] {
            assert_eq!(text(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn times_that_the_format_cannot_say_are_clamped() {
        assert_eq!(text(0), "1980-01-01 00:00:00");
        assert_eq!(text(i64::MIN), "1980-01-01 00:00:00");
        assert_eq!(text(i64::MAX), "2107-12-31 23:59:58");
        assert_eq!(dos(None), dos(Some(0)));
        assert_eq!((unix32(i64::MIN), unix32(-1), unix32(i64::MAX)), (i32::MIN, -1, i32::MAX));
    }
}
