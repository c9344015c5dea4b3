//! Texts in lists, and secrets.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use outflow_texts::{ConsoleText, console};

/// Parses an element of a list: without the spaces around it, and not empty.
pub(crate) fn element(text: &str) -> Result<String, ConsoleText> {
    match text.trim() {
        "" => Err(console!(element_empty)),
        text => Ok(text.to_owned()),
    }
}

/// A text that no message and no log shows.
#[derive(Clone)]
pub(crate) struct SecretArg(pub(crate) String);

impl FromStr for SecretArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<SecretArg, Infallible> {
        Ok(SecretArg(text.to_owned()))
    }
}

impl fmt::Debug for SecretArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
