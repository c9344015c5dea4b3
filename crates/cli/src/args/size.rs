//! Byte sizes as people write them.
//!
//! Ours rather than bytesize's: that reads `1G` as 10^9 bytes and accepts fractions.

use std::str::FromStr;

use outflow_texts::{ConsoleText, console};

/// A number of bytes: `256MiB`, `1G`, `1048576`. All units are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeArg(usize);

impl SizeArg {
    pub(crate) fn bytes(self) -> usize {
        self.0
    }
}

impl FromStr for SizeArg {
    type Err = ConsoleText;

    fn from_str(text: &str) -> Result<SizeArg, ConsoleText> {
        let wrong = || console!(size_wrong);
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            // Powers of ten are refused rather than misread.
            "kb" | "mb" | "gb" if !number.is_empty() => {
                let letter = unit.trim()[..1].to_ascii_uppercase();
                return Err(console!(size_in_powers_of_ten, size = format!("{number}{letter}iB")));
            }
            _ => return Err(wrong()),
        };
        let number = number.parse::<usize>().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(SizeArg).ok_or_else(|| console!(size_too_large, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("256MiB", Some(256 << 20)),
            ("1g", Some(1 << 30)),
            ("64 KiB", Some(64 << 10)),
            ("4096", Some(4096)),
            ("0", Some(0)),
            ("", None),
            ("MiB", None),
            ("1.5GiB", None),
            ("-1", None),
            ("1MB", None),
            ("99999999999999999999G", None),
            ("99999999999999999G", None),
        ] {
            assert_eq!(text.parse::<SizeArg>().ok().map(SizeArg::bytes), bytes, "{text}");
        }
    }
}
