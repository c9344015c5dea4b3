//! The texts of one language, parsed once.

use std::fmt;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use unic_langid::LanguageIdentifier;

/// The texts of one language.
pub struct TextCatalog {
    tag: Box<str>,
    bundle: FluentBundle<FluentResource>,
    units: [Box<str>; 7],
    decimal: Box<str>,
    time: Box<str>,
}

/// Why a file of texts is invalid.
#[derive(Debug)]
pub struct BadCatalog(String);

impl fmt::Display for BadCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadCatalog {}

impl TextCatalog {
    /// Parses the texts of the language with the tag `tag` (RFC 5646). Texts that are missing are
    /// shown in English.
    ///
    /// # Errors
    /// When the tag or the source is invalid, or a text is there twice.
    pub fn parse(tag: &str, source: &str) -> Result<TextCatalog, BadCatalog> {
        let language: LanguageIdentifier = tag
            .parse()
            .map_err(|error| BadCatalog(format!("{tag:?} is not the tag of a language: {error}")))?;
        let resource = FluentResource::try_new(source.to_owned()).map_err(|(_, errors)| {
            BadCatalog(format!("cannot parse the texts of {tag}: {}", list(&errors)))
        })?;
        let mut bundle = FluentBundle::new_concurrent(vec![language]);
        // Bytes in front of names and addresses would be copied along with them. A language that
        // is written from right to left needs them, in pages.
        bundle.set_use_isolating(false);
        bundle
            .add_resource(resource)
            .map_err(|errors| BadCatalog(format!("the texts of {tag}: {}", list(&errors))))?;
        let catalog = TextCatalog {
            tag: tag.into(),
            units: ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].map(Into::into),
            decimal: ".".into(),
            time: "%Y-%m-%d %H:%M".into(),
            bundle,
        };
        catalog.with_formats()
    }

    /// Takes the formats of the language from its texts.
    fn with_formats(mut self) -> Result<TextCatalog, BadCatalog> {
        if let Some(units) = self.format("format_units", None) {
            let units: Vec<Box<str>> = units.split(' ').map(Into::into).collect();
            self.units = units.try_into().map_err(|_| {
                BadCatalog(format!("format_units of {}: expected 7 units with spaces between", self.tag))
            })?;
        }
        if let Some(decimal) = self.format("format_decimal", None) {
            self.decimal = decimal.into();
        }
        if let Some(time) = self.format("format_time", None) {
            self.time = time.into();
        }
        let group = self.format("format_group", None).unwrap_or_else(|| ",".to_owned());
        let added = self.bundle.add_function("GROUP", move |arguments, _| match arguments {
            [FluentValue::Number(number)] => grouped(&number.as_string(), &group).into(),
            [FluentValue::String(digits)] => grouped(digits, &group).into(),
            _ => FluentValue::Error,
        });
        added.map_err(|error| BadCatalog(error.to_string()))?;
        Ok(self)
    }

    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// The text `id`; `None` if the language does not have it, or it needs an argument that the
    /// code does not give.
    pub(crate) fn format(&self, id: &str, arguments: Option<&FluentArgs<'_>>) -> Option<String> {
        let pattern = self.bundle.get_message(id)?.value()?;
        let mut errors = Vec::new();
        let text = self.bundle.format_pattern(pattern, arguments, &mut errors);
        errors.is_empty().then(|| text.into_owned())
    }

    /// A size for people, in powers of 1024.
    pub(crate) fn size(&self, bytes: u64) -> String {
        if bytes < 1024 {
            return format!("{bytes} {}", self.units[0]);
        }
        let mut value = bytes as f64 / 1024.0;
        let mut unit = 1;
        // What would be shown as 1024 is 1 of the next unit.
        while value >= 1023.95 && unit + 1 < self.units.len() {
            value /= 1024.0;
            unit += 1;
        }
        let value = format!("{value:.1}");
        let value = if &*self.decimal == "." { value } else { value.replace('.', &self.decimal) };
        format!("{value} {}", self.units[unit])
    }

    /// A point in time for people, in UTC; empty if no calendar has it.
    pub(crate) fn time(&self, seconds_since_1970: i64) -> String {
        let time = jiff::Timestamp::from_second(seconds_since_1970);
        time.map_or_else(|_| String::new(), |time| time.strftime(&*self.time).to_string())
    }
}

/// Digits with `separator` between groups of three.
fn grouped(digits: &str, separator: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push_str(separator);
        }
        grouped.push(digit);
    }
    grouped
}

fn list(errors: &[impl fmt::Display]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
