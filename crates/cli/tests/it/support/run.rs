//! Other programs, each with a time limit.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::thread::JoinHandle;

use tempfile::TempDir;

use super::until;

/// A command whose answers do not depend on the machine's language, and that asks nobody anything.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("PYTHONUTF8", "1").stdin(Stdio::null());
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

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

/// What a command prints; it has to succeed.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> String {
    let output = Program::start(command).finish();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{}\n{err}", output.status, tail(&out));
    out.into_owned()
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(2000);
    &text[(from..).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())..]
}

/// A running program. What it prints is collected; ended when it is dropped.
pub(crate) struct Program {
    child: Child,
    outputs: [Option<JoinHandle<Vec<u8>>>; 2],
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Program {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        Program { child, outputs: [Some(out), Some(err)] }
    }

    /// With an input that the test writes. Closing it is the test's business.
    pub(crate) fn start_with_input(command: &mut Command) -> (Program, ChildStdin) {
        let mut program = Program::start(command.stdin(Stdio::piped()));
        let input = program.child.stdin.take().unwrap();
        (program, input)
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Output {
        let status = until("a program has ended", || self.child.try_wait().unwrap());
        let [stdout, stderr] = self.outputs.each_mut().map(|output| output.take().unwrap().join().unwrap());
        Output { status, stdout, stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that did not do what it was asked to: exits with `code`, prints nothing, and says all
/// of `parts`.
#[track_caller]
pub(crate) fn assert_fails(output: &Output, code: i32, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
    assert!(!stderr.contains("panicked") && !stderr.contains("backtrace"), "{stderr}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Chromium without a window, that believes every certificate. Ended when it is dropped, and its
/// profile removed.
pub(crate) struct Browser {
    _program: Program,
    _profile: TempDir,
}

impl Browser {
    pub(crate) fn open(url: impl AsRef<OsStr>) -> Browser {
        let profile = TempDir::new().unwrap();
        let mut chromium = program("chromium");
        chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]);
        chromium.args(["--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server"]);
        chromium.args(["--remote-debugging-port=0", "--ignore-certificate-errors"]);
        chromium.arg(format!("--user-data-dir={}", profile.path().display())).env("HOME", profile.path());
        Browser { _program: Program::start(chromium.arg(url)), _profile: profile }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = from.read_to_end(&mut all);
        all
    })
}

/// Writes to a program that may have read enough already.
pub(crate) fn feed(input: &mut ChildStdin, bytes: &[u8]) {
    match input.write_all(bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        result => result.unwrap(),
    }
}
