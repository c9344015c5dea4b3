//! A link's password: never from the command line, where all users of the machine can read it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Read, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use outflow_texts::{ConsoleText, console};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// Maximum length of a password, in bytes.
///
/// Bound: links.
const MAX_LENGTH: u64 = 4096;

/// Where a password comes from.
#[derive(Clone, Debug)]
pub(super) enum PasswordSource {
    /// A prompt on the terminal.
    Prompt,
    /// The first line of standard input.
    Stdin,
    /// The first line of a file.
    File(PathBuf),
}

impl PasswordSource {
    pub(super) fn parse(text: &str) -> Result<PasswordSource, ConsoleText> {
        match text.strip_prefix('@') {
            Some(path) if !path.is_empty() => Ok(PasswordSource::File(path.into())),
            _ if text.is_empty() => Ok(PasswordSource::Prompt),
            _ if text == "-" => Ok(PasswordSource::Stdin),
            _ => Err(console!(password_in_command_line)),
        }
    }

    pub(super) fn read(&self) -> Result<Vec<u8>, Failure> {
        let password = match self {
            PasswordSource::Prompt if std::io::stdin().is_terminal() => prompt()?,
            PasswordSource::Prompt | PasswordSource::Stdin => {
                first_line(std::io::stdin()).context(console!(cannot_read_password_stdin))?
            }
            PasswordSource::File(path) => File::open(path)
                .and_then(first_line)
                .with_context(|| console!(cannot_read_password_file, path = %path.display()))?,
        };
        if password.is_empty() {
            return Err(Failure::Usage(anyhow!(console!(password_empty))));
        }
        Ok(password)
    }
}

/// Without its end.
fn first_line(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(from.take(MAX_LENGTH)).read_until(b'\n', &mut line)?;
    strip_line_end(&mut line);
    Ok(line)
}

fn strip_line_end(line: &mut Vec<u8>) {
    for end in [b'\n', b'\r'] {
        line.pop_if(|last| *last == end);
    }
}

/// Prompts twice, as the terminal does not show the input.
fn prompt() -> anyhow::Result<Vec<u8>> {
    let password = read_hidden(&console!(password_prompt))?;
    let again = read_hidden(&console!(password_prompt_again))?;
    anyhow::ensure!(password == again, console!(passwords_differ));
    Ok(password)
}

fn read_hidden(prompt: &ConsoleText) -> anyhow::Result<Vec<u8>> {
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).context(console!(cannot_turn_off_echo))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    eprint!("{prompt} ");
    let _ = std::io::stderr().flush();
    tcsetattr(&stdin, OptionalActions::Flush, &silent).context(console!(cannot_turn_off_echo))?;
    // The buffer of `stdin` keeps what follows the line.
    let mut line = Vec::new();
    let read = stdin.lock().take(MAX_LENGTH).read_until(b'\n', &mut line);
    let restored = tcsetattr(&stdin, OptionalActions::Now, &before);
    eprintln!();
    read.context(console!(cannot_read_terminal))?;
    restored.context(console!(cannot_turn_on_echo))?;
    strip_line_end(&mut line);
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line() {
        for (bytes, password) in
            [("secret\n", "secret"), ("a b\r\nc\n", "a b"), (" x", " x"), ("\n", ""), ("", "")]
        {
            assert_eq!(first_line(bytes.as_bytes()).unwrap(), password.as_bytes());
        }
        assert!(PasswordSource::parse("secret").is_err() && PasswordSource::parse("@").is_err());
        assert!(matches!(PasswordSource::parse("@/x"), Ok(PasswordSource::File(_))));
    }
}
