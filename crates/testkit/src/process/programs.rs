//! Which programs of others are installed, and what a test does without one.
//!
//! In the full tier, which is the default, a missing program fails the test and the message names
//! its package. In the quick tier (`scripts/test quick`), the test is skipped, and counted.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Each program with the Debian package that has it. `scripts/test packages` installs these.
const PACKAGES: &str = include_str!("../../programs.txt");

/// Names the tier: `quick`, or the full one.
const TIER: &str = "OUTFLOW_TEST_TIER";

/// A file that gets a line for each test that is skipped: what it needs, a tab, its name.
const SKIPS: &str = "OUTFLOW_TEST_SKIPS";

/// Modules of Python that tests need. `scripts/test packages` installs them beside what cargo
/// builds.
const MODULES: [&str; 2] = ["jsonschema", "moto"];

/// Needed by tests that take longer than the quick tier has.
const TIME: &str = "time";

/// Where programs are that are in no PATH, because several versions may be installed.
const POSTGRES: &str = "/usr/lib/postgresql";

/// Begins a test that needs programs of others, Python modules, or `time`, which only the full tier
/// has: returns from it when one is missing and the tier allows a skip.
///
/// ```
/// fn curl_reads_what_wget_reads() {
///     outflow_testkit::needs!("curl", "wget");
/// }
/// ```
#[macro_export]
macro_rules! needs {
    ($($what:literal),+ $(,)?) => {
        if !$crate::process::are_present(&[$($what),+]) {
            return;
        }
    };
}

/// Whether a test can use all of `needed`. If not, it records a skip in the quick tier, and fails
/// in the full one. Tests call it by [`needs!`](crate::needs).
#[track_caller]
#[must_use]
pub fn are_present(needed: &[&str]) -> bool {
    let Some(missing) = needed.iter().find(|name| !is_present(name)) else { return true };
    assert!(is_quick(), "{}", how_to_install(missing));
    record_skip(missing);
    false
}

/// Fails with what to install when a program of others is missing.
#[track_caller]
pub fn assert_installed(name: &str) {
    if package(name).is_some() && !is_present(name) {
        let hint = if is_quick() { "; a test that needs it begins with needs!" } else { "" };
        panic!("{}{hint}", how_to_install(name));
    }
}

fn is_quick() -> bool {
    std::env::var_os(TIER).is_some_and(|tier| tier == "quick")
}

fn how_to_install(name: &str) -> String {
    let from = match package(name) {
        Some(package) => format!("apt-get install {package}, or scripts/test packages"),
        None => "scripts/test packages installs it".to_owned(),
    };
    format!("{name} is not installed: {from}; scripts/test quick does without")
}

fn package(name: &str) -> Option<&'static str> {
    PACKAGES.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

fn is_present(name: &str) -> bool {
    if name == TIME {
        return !is_quick();
    }
    if MODULES.contains(&name) {
        let mut python = Command::new("python3");
        python.args(["-c", &format!("import {name}")]).stdout(Stdio::null()).stderr(Stdio::null());
        return python.status().is_ok_and(|status| status.success());
    }
    if name == "postgres" {
        let versions = std::fs::read_dir(POSTGRES).into_iter().flatten().flatten();
        return versions.map(|version| version.path()).any(|path| path.join("bin/postgres").is_file());
    }
    assert!(package(name).is_some(), "{name} is not in crates/testkit/programs.txt");
    in_path(name).is_some()
}

/// Daemons may be in a folder that only root has in its PATH.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Records that the running test is skipped because it lacks `missing`, such as a privilege.
pub fn record_skip(missing: &str) {
    let thread = std::thread::current();
    let line = format!("{missing}\t{}\n", thread.name().unwrap_or("unknown"));
    eprint!("skipped, for want of {line}");
    let Some(file) = std::env::var_os(SKIPS) else { return };
    // One write: tests of several processes append to it.
    let written = File::options().append(true).create(true).open(&file);
    written
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("cannot record a skip in {}: {error}", PathBuf::from(file).display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        assert_eq!(package("aria2c"), Some("aria2"));
        assert_eq!(package("aria2"), None);
        assert!(how_to_install("7z").contains("apt-get install p7zip-full"));
    }

    #[test]
    fn what_no_table_knows_is_asked_of_no_test() {
        let asked = std::panic::catch_unwind(|| are_present(&["no-such-program"]));
        assert!(asked.is_err());
    }
}
