//! The texts that Outflow shows to people: pages, problems, the command line.
//!
//! ```text
//! languages/en.ftl   every text, in English: the catalogue (Fluent, https://projectfluent.org)
//! languages/*.ftl    its translations; a text that one lacks is shown in English
//! text               a text of the catalogue with its arguments, in no language yet
//! language           renders a text; sizes, times and numbers as the language writes them
//!   catalog            one file, parsed once
//! console            a text for the command line, which has one language for the whole process
//! ```
//!
//! Code names a text by its id. An id or an argument that the catalogue does not have, or an
//! argument that is missing, does not compile:
//!
//! ```
//! use outflow_texts::{Language, text};
//!
//! let gone = text!(selected_files_gone, gone = 1_u64, selected = 3_u64);
//! assert_eq!(
//!     Language::default().say(&gone),
//!     "1 of the 3 selected files is no longer there. Select again in the folder."
//! );
//! ```
//!
//! ```compile_fail
//! outflow_texts::text!(no_such_text);
//! ```
//!
//! ```compile_fail
//! outflow_texts::text!(selected_files_gone, gone = 1_u64);
//! ```

#![forbid(unsafe_code)]

mod catalog;
mod console;
mod language;
mod text;

pub use catalog::{BadCatalog, TextCatalog};
pub use console::ConsoleText;
pub use language::Language;
pub use text::{Size, Text, TextNumber, TextValue, Time};

/// A struct for each text of the catalogue; [`text!`] makes them.
#[doc(hidden)]
#[allow(non_camel_case_types, missing_docs)]
pub mod ids {
    use crate::text::{Text, TextNumber, TextValue};

    include!(concat!(env!("OUT_DIR"), "/ids.rs"));
}
