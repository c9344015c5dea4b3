//! Texts of the command line.

use std::fmt;
use std::sync::OnceLock;

use crate::language::Language;
use crate::text::Text;

static LANGUAGE: OnceLock<Language> = OnceLock::new();

/// A text for the person who started the process. It displays itself in the process's language,
/// so it can be printed, and be an error or the context of one.
///
/// [`console!`] makes one.
///
/// ```
/// use outflow_texts::{ConsoleText, Language, TextCatalog, console};
///
/// let german = TextCatalog::parse("de", "status_404 = Nicht gefunden")?;
/// ConsoleText::set_language(Language::of(Box::leak(Box::new(german))));
/// assert_eq!(console!(status_404).to_string(), "Nicht gefunden");
/// assert_eq!(console!(status_410).to_string(), "Gone");
/// # Ok::<(), outflow_texts::BadCatalog>(())
/// ```
///
/// [`console!`]: crate::console!
#[derive(Clone, PartialEq)]
pub struct ConsoleText(pub Text);

impl ConsoleText {
    /// Sets the language of the process, once, before anything is printed.
    pub fn set_language(language: Language) {
        let _ = LANGUAGE.set(language);
    }
}

impl fmt::Display for ConsoleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&LANGUAGE.get().copied().unwrap_or_default().say(&self.0))
    }
}

impl fmt::Debug for ConsoleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConsoleText {}

/// A [`ConsoleText`]: takes what [`text!`] takes.
///
/// [`text!`]: crate::text!
#[macro_export]
macro_rules! console {
    ($($text:tt)*) => {
        $crate::ConsoleText($crate::text!($($text)*))
    };
}
