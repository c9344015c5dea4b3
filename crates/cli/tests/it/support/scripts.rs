//! The tests' own programs in other languages.

use std::path::Path;
use std::process::Command;

use super::program;

/// Runs one of the scripts in `python/`.
pub(crate) fn python(script: &str) -> Command {
    let mut command = program("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python").join(script));
    command
}

/// Runs one of the programs in `java/`, which Java compiles on the way.
pub(crate) fn java(source: &str) -> Command {
    let mut command = program("java");
    command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xmx256m"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/java").join(source));
    command
}
