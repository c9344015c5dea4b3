//! Renders texts in a language.

use std::sync::LazyLock;

use fluent_bundle::{FluentArgs, FluentValue};

use crate::catalog::TextCatalog;
use crate::text::{Size, Text, TextNumber, TextValue, Time};

/// The files of `languages/`: tag and source.
const SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/languages.rs"));
const ENGLISH: &str = "en";
/// Largest integer that Fluent, which computes with `f64`, shows exactly.
const MAX_NUMBER: u64 = 1 << 53;

/// The catalogues of this build. A test parses them, so that none is left out here.
static CATALOGS: LazyLock<Vec<TextCatalog>> = LazyLock::new(|| {
    SOURCES.iter().filter_map(|(tag, source)| TextCatalog::parse(tag, source).ok()).collect()
});
static DEFAULT: LazyLock<Language> =
    LazyLock::new(|| Language::find(ENGLISH).expect("a test parses the English texts"));

/// A language that texts are rendered in. The default is English.
#[derive(Clone, Copy)]
pub struct Language(&'static TextCatalog);

impl Language {
    /// The language with the tag `tag`, if there is a catalogue of it.
    #[must_use]
    pub fn find(tag: &str) -> Option<Language> {
        CATALOGS.iter().find(|catalog| catalog.tag().eq_ignore_ascii_case(tag)).map(Language)
    }

    /// A language with texts that are not part of this build.
    #[must_use]
    pub fn of(catalog: &'static TextCatalog) -> Language {
        Language(catalog)
    }

    /// The language's tag (RFC 5646), for `lang` and `Content-Language`.
    #[must_use]
    pub fn tag(self) -> &'static str {
        self.0.tag()
    }

    /// The text in this language, or in English if the language does not have it.
    #[must_use]
    pub fn say(self, text: &Text) -> String {
        let arguments: FluentArgs<'_> =
            text.arguments.iter().map(|(name, value)| (*name, self.argument(value))).collect();
        let arguments = (!text.arguments.is_empty()).then_some(&arguments);
        // A test formats every text of every language, so there is always one of the two.
        self.0
            .format(text.id, arguments)
            .or_else(|| DEFAULT.0.format(text.id, arguments))
            .unwrap_or_else(|| text.id.to_owned())
    }

    /// The text in two parts, before and behind the argument that is [`TextValue::GAP`], for
    /// markup in between.
    #[must_use]
    pub fn say_around(self, text: &Text) -> (String, String) {
        let said = self.say(text);
        match said.split_once(GAP) {
            Some((before, behind)) => (before.to_owned(), behind.to_owned()),
            None => (said, String::new()),
        }
    }

    /// A size for people, in powers of 1024.
    #[must_use]
    pub fn size(self, bytes: u64) -> String {
        self.0.size(bytes)
    }

    /// A point in time for people, in UTC; empty if no calendar has it.
    #[must_use]
    pub fn time(self, seconds_since_1970: i64) -> String {
        self.0.time(seconds_since_1970)
    }

    fn argument(self, value: &TextValue) -> FluentValue<'_> {
        match value {
            TextValue::Plain(text) => FluentValue::from(&**text),
            TextValue::Number(TextNumber(number)) if *number <= MAX_NUMBER => FluentValue::from(*number),
            TextValue::Number(TextNumber(number)) => FluentValue::from(number.to_string()),
            TextValue::Size(Size(bytes)) => FluentValue::from(self.size(*bytes)),
            TextValue::Time(Time(seconds)) => FluentValue::from(self.time(*seconds)),
            TextValue::Nested(text) => FluentValue::from(self.say(text)),
        }
    }
}

/// A character that no text has.
const GAP: char = '\u{f8ff}';

impl TextValue {
    /// The argument whose place the caller fills in: see [`Language::say_around`].
    pub const GAP: &'static str = "\u{f8ff}";
}

impl Default for Language {
    fn default() -> Language {
        *DEFAULT
    }
}

impl std::fmt::Debug for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.tag())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fluent_syntax::ast::{self, Entry, Expression, InlineExpression, PatternElement};
    use fluent_syntax::parser;

    use super::*;
    use crate::ids::ALL;
    use crate::text;

    /// A language that is made for one test.
    fn language(tag: &str, source: &str) -> Language {
        Language::of(Box::leak(Box::new(TextCatalog::parse(tag, source).unwrap())))
    }

    /// The texts of a file and their arguments, as the parser of Fluent finds them.
    fn messages(source: &str) -> Vec<(String, BTreeSet<String>)> {
        let resource = parser::parse(source.to_owned()).unwrap();
        let messages = resource.body.into_iter().filter_map(|entry| match entry {
            Entry::Message(message) => {
                let mut arguments = BTreeSet::new();
                collect(&message.value.expect("every text has a value"), &mut arguments);
                Some((message.id.name, arguments))
            }
            _ => None,
        });
        messages.collect()
    }

    fn collect(pattern: &ast::Pattern<String>, arguments: &mut BTreeSet<String>) {
        for element in &pattern.elements {
            match element {
                PatternElement::Placeable { expression: Expression::Inline(inline) } => {
                    collect_inline(inline, arguments);
                }
                PatternElement::Placeable { expression: Expression::Select { selector, variants } } => {
                    collect_inline(selector, arguments);
                    variants.iter().for_each(|variant| collect(&variant.value, arguments));
                }
                PatternElement::TextElement { .. } => {}
            }
        }
    }

    fn collect_inline(inline: &InlineExpression<String>, arguments: &mut BTreeSet<String>) {
        match inline {
            InlineExpression::VariableReference { id } => {
                arguments.insert(id.name.clone());
            }
            InlineExpression::FunctionReference { arguments: given, .. } => {
                given.positional.iter().for_each(|given| collect_inline(given, arguments));
            }
            _ => {}
        }
    }

    #[test]
    fn code_knows_the_texts_and_arguments_that_fluent_parses() {
        let (_, english) = SOURCES.iter().find(|(tag, _)| *tag == ENGLISH).unwrap();
        let parsed = messages(english);
        assert_eq!(parsed.len(), ALL.len());
        for ((id, arguments), (known, known_arguments)) in parsed.iter().zip(ALL) {
            assert_eq!(id, known);
            let known_arguments: BTreeSet<String> = known_arguments.iter().map(ToString::to_string).collect();
            assert_eq!(*arguments, known_arguments, "{id}");
        }
    }

    #[test]
    fn every_language_parses_and_asks_for_no_text_or_argument_that_english_does_not_have() {
        for (tag, source) in SOURCES {
            let language = Language::find(tag).unwrap_or_else(|| panic!("{tag} cannot be parsed"));
            for (id, arguments) in messages(source) {
                let (_, english) = ALL.iter().find(|(known, _)| *known == id).unwrap_or_else(|| {
                    panic!("{tag}: English has no text {id}");
                });
                for name in &arguments {
                    assert!(english.contains(&&**name), "{tag}: {id} has no argument {name}");
                }
                // Every plural form is a valid one.
                for number in [0, 1, 2, 5, 11, 100, 1_000_000] {
                    let given: FluentArgs<'_> = english.iter().map(|name| (*name, number)).collect();
                    assert!(language.0.format(&id, Some(&given)).is_some(), "{tag}: {id}");
                }
            }
        }
    }

    #[test]
    fn the_language_chooses_the_plural() {
        let english = Language::default();
        for (files, said) in [(0, "0 files, 5 B"), (1, "1 file, 5 B"), (12_345, "12,345 files, 5 B")] {
            assert_eq!(english.say(&text!(transfer_content, files = files as u64, size = Size(5))), said);
        }
        let polish = language(
            "pl",
            "format_group = \u{a0}\nformat_decimal = ,\ntransfer_content = { $files ->\n [one] { $files } plik\n \
             [few] { $files } pliki\n *[many] { $files } plików\n } ({ $size })",
        );
        for (files, said) in [(1, "1 plik (1,5 KiB)"), (3, "3 pliki (1,5 KiB)"), (5, "5 plików (1,5 KiB)")] {
            assert_eq!(polish.say(&text!(transfer_content, files = files as u64, size = Size(1536))), said);
        }
        // The largest numbers lose no digit.
        let many = text!(link_exhausted, max = u64::MAX);
        assert!(english.say(&many).contains("18446744073709551615 downloads"), "{}", english.say(&many));
    }

    #[test]
    fn what_a_language_lacks_is_said_in_english() {
        let german = language("de", "status_404 = Nicht gefunden\nnothing_here = Hier fehlt { $nothing }.");
        assert_eq!(german.say(&text!(status_404)), "Nicht gefunden");
        assert_eq!(german.say(&text!(status_410)), "Gone");
        // It asks for an argument that the code does not give.
        assert_eq!(german.say(&text!(nothing_here)), "There is nothing at this address.");
        assert_eq!(german.tag(), "de");
    }

    #[test]
    fn a_text_in_a_text_is_in_the_same_language() {
        let german = language("de", "bad_query = Anfrage: { $why }\nquery_empty_name = leerer Name");
        assert_eq!(german.say(&text!(bad_query, why = text!(query_empty_name))), "Anfrage: leerer Name");
    }

    #[test]
    fn arguments_are_not_parsed() {
        let name = "{ $other } { -term }";
        let said = Language::default().say(&text!(selected_file_missing, name));
        assert_eq!(said, "{ $other } { -term } is not in this folder. Select again.");
        assert_eq!(
            Language::default().say_around(&text!(select_name, name = TextValue::GAP)),
            ("Select ".to_owned(), String::new())
        );
    }

    #[test]
    fn sizes_and_times_are_short() {
        let english = Language::default();
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(english.size(bytes), text);
        }
        assert_eq!(english.time(-1), "1969-12-31 23:59");
        assert_eq!(english.time(i64::MAX), "");
    }

    #[test]
    fn a_broken_catalogue_is_refused() {
        for (tag, source) in
            [("e", ""), ("de", "status_404"), ("de", "a = 1\na = 2"), ("de", "format_units = B")]
        {
            assert!(TextCatalog::parse(tag, source).is_err(), "{tag}: {source}");
        }
    }
}
