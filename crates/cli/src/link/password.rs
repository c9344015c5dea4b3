//! A link's password: never from the command line, where everybody on the machine can read it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Read, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::Failure;

/// More than a password may have.
const LONGEST: u64 = 4096;

/// Where a password comes from.
#[derive(Clone, Debug)]
pub(super) enum Password {
    /// Whoever sits at the terminal types it.
    Asked,
    /// The first line of the standard input.
    Stdin,
    /// The first line of a file.
    File(PathBuf),
}

impl Password {
    pub(super) fn parse(text: &str) -> Result<Password, String> {
        match text.strip_prefix('@') {
            Some(path) if !path.is_empty() => Ok(Password::File(path.into())),
            _ if text.is_empty() => Ok(Password::Asked),
            _ if text == "-" => Ok(Password::Stdin),
            _ => Err("a password on the command line can be seen by others; --password alone asks for it, \
                      --password=- reads it from the standard input, --password=@FILE from a file"
                .to_owned()),
        }
    }

    pub(super) fn read(&self) -> Result<Vec<u8>, Failure> {
        let password = match self {
            Password::Asked if std::io::stdin().is_terminal() => ask()?,
            Password::Asked | Password::Stdin => {
                first_line(std::io::stdin()).context("cannot read the password from the standard input")?
            }
            Password::File(path) => File::open(path)
                .and_then(first_line)
                .with_context(|| format!("cannot read the password from {}", path.display()))?,
        };
        if password.is_empty() {
            return Err(Failure::Usage(anyhow!("the password is empty")));
        }
        Ok(password)
    }
}

/// Without its end.
fn first_line(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(from.take(LONGEST)).read_until(b'\n', &mut line)?;
    without_end(&mut line);
    Ok(line)
}

fn without_end(line: &mut Vec<u8>) {
    for end in [b'\n', b'\r'] {
        line.pop_if(|last| *last == end);
    }
}

/// Twice, because nobody sees what is typed.
fn ask() -> anyhow::Result<Vec<u8>> {
    let password = type_in("Password for the link: ")?;
    let again = type_in("The same again: ")?;
    anyhow::ensure!(password == again, "these were two different passwords");
    Ok(password)
}

fn type_in(prompt: &str) -> anyhow::Result<Vec<u8>> {
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).context("cannot ask the terminal")?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    eprint!("{prompt}");
    let _ = std::io::stderr().flush();
    tcsetattr(&stdin, OptionalActions::Flush, &silent).context("cannot ask the terminal")?;
    // The standard input's own buffer keeps what follows.
    let mut line = Vec::new();
    let read = stdin.lock().take(LONGEST).read_until(b'\n', &mut line);
    let restored = tcsetattr(&stdin, OptionalActions::Now, &before);
    eprintln!();
    read.context("cannot read from the terminal")?;
    restored.context("the terminal does not show what is typed: reset makes it")?;
    without_end(&mut line);
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
        assert!(Password::parse("secret").is_err() && Password::parse("@").is_err());
        assert!(matches!(Password::parse("@/x"), Ok(Password::File(_))));
    }
}
