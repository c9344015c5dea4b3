//! Programs that end, each with a time limit.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::thread::JoinHandle;

use super::assert_installed;
use crate::until;

/// A command whose output does not depend on the machine's locale, without proxies and without
/// input. Fails with what to install if it is a program of others that is missing.
#[track_caller]
pub fn program(name: impl AsRef<OsStr>) -> Command {
    if let Some(name) = name.as_ref().to_str() {
        assert_installed(name);
    }
    let mut command = Command::new(name);
    command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("PYTHONUTF8", "1").stdin(Stdio::null());
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

/// Runs a command, which has to succeed, and returns what it prints.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let output = ChildProgram::start(command).finish();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{}\n{err}", output.status, tail(&out));
    out.into_owned()
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(2000);
    &text[(from..).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())..]
}

/// A running program. Its output is collected; it is killed when this is dropped.
pub struct ChildProgram {
    child: Child,
    outputs: [Option<JoinHandle<Vec<u8>>>; 2],
}

impl ChildProgram {
    /// Starts a command.
    pub fn start(command: &mut Command) -> ChildProgram {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        ChildProgram { child, outputs: [Some(out), Some(err)] }
    }

    /// Starts a command whose standard input the test writes and closes.
    pub fn start_with_input(command: &mut Command) -> (ChildProgram, ChildStdin) {
        let mut program = ChildProgram::start(command.stdin(Stdio::piped()));
        let input = program.child.stdin.take().unwrap();
        (program, input)
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        let status = until("a program has ended", || self.child.try_wait().unwrap());
        let [stdout, stderr] = self.outputs.each_mut().map(|output| output.take().unwrap().join().unwrap());
        Output { status, stdout, stderr }
    }
}

impl Drop for ChildProgram {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command has failed: exit code `code`, nothing on stdout, and all of `parts` on stderr.
#[track_caller]
pub fn assert_fails(output: &Output, code: i32, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
    assert!(!stderr.contains("panicked") && !stderr.contains("backtrace"), "{stderr}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = from.read_to_end(&mut all);
        all
    })
}

/// Writes to a program that may have closed its input.
pub fn feed(input: &mut ChildStdin, bytes: &[u8]) {
    match input.write_all(bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        result => result.unwrap(),
    }
}
