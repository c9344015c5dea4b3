//! Sends events to a program that is started for each of them.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use super::sender::{AttemptOutcome, AttemptResult, EventMessage, EventSender};
use crate::model::LedgerEvent;

/// Maximum number of an endpoint's programs that may run. Two keep the order of events mostly, and
/// one that hangs does not stop the others.
///
/// Bound: webhooks.
pub(super) const MAX_PROGRAMS: usize = 2;

/// Maximum number of bytes of a program's standard error in the note: the last ones.
///
/// Bound: webhooks.
const MAX_STDERR: usize = 300;

/// Maximum time to read a program's standard error after its end: a child process may keep it open.
const STDERR_TIMEOUT: Duration = Duration::from_millis(100);

/// An endpoint that is notified by a program.
pub(super) struct CommandSender {
    path: PathBuf,
    name: String,
    timeout: Duration,
}

impl CommandSender {
    /// Maximum running time of a program.
    ///
    /// Bound: webhooks.
    pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

    /// # Errors
    /// Why the program cannot be used, and what to do.
    pub(super) fn new(program: &Path, timeout: Duration) -> Result<CommandSender, String> {
        Ok(CommandSender { path: locate(program)?, name: program.display().to_string(), timeout })
    }

    async fn start(&self) -> io::Result<Child> {
        let mut tries = 0;
        loop {
            let started = Command::new(&self.path)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                // Its children can be killed with it, and Ctrl-C in the server's terminal does not
                // reach it.
                .process_group(0)
                .spawn();
            match started {
                // Another process is writing the program, or is about to close it.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < 10 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
    }
}

#[async_trait]
impl EventSender for CommandSender {
    async fn send(&self, event: &LedgerEvent, _at: Timestamp) -> AttemptResult {
        let mut line = EventMessage::with_id(event);
        line.push(b'\n');
        let child = match self.start().await {
            Ok(child) => child,
            Err(error) => {
                return AttemptResult::new(
                    AttemptOutcome::Failed,
                    format!("cannot start {}: {error}", self.name),
                );
            }
        };
        let mut running = ProgramGroup(child);
        match timeout(self.timeout, running.feed(&line)).await {
            Ok(Ok((status, stderr))) => {
                let outcome =
                    if status.success() { AttemptOutcome::Delivered } else { AttemptOutcome::Failed };
                let result = AttemptResult::new(outcome, describe(status));
                if status.success() { result } else { result.with_reply(&stderr, MAX_STDERR) }
            }
            Ok(Err(error)) => {
                AttemptResult::new(AttemptOutcome::Failed, format!("{} was lost: {error}", self.name))
            }
            Err(_) => {
                running.kill();
                // A process that the kernel cannot end yet is left to tokio.
                let _ = timeout(Duration::from_secs(1), running.0.wait()).await;
                AttemptResult::new(
                    AttemptOutcome::Failed,
                    format!("killed: it had not ended after {:?}", self.timeout),
                )
            }
        }
    }

    fn timeout(&self) -> Duration {
        self.timeout + Duration::from_secs(2)
    }

    fn max_concurrent(&self) -> usize {
        MAX_PROGRAMS
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// A program that is killed with all its children when this is dropped.
struct ProgramGroup(Child);

impl ProgramGroup {
    /// Writes `line` to its standard input and waits for its end. Returns the end of its standard
    /// error.
    async fn feed(&mut self, line: &[u8]) -> io::Result<(ExitStatus, Vec<u8>)> {
        let stdin = self.0.stdin.take();
        let stderr = self.0.stderr.take();
        let mut collected = Vec::new();
        let feeding = async {
            if let Some(mut stdin) = stdin {
                // A program need not read its input: its exit status tells whether it has failed.
                let _ = stdin.write_all(line).await;
            }
            // Dropping it here ends the input.
            std::future::pending::<()>().await;
        };
        let reading = async {
            if let Some(stderr) = stderr {
                read_end(stderr, &mut collected).await;
            }
        };
        let child = &mut self.0;
        let ending = async {
            tokio::pin!(feeding, reading);
            let mut read = false;
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status?,
                    () = &mut feeding => {}
                    () = &mut reading, if !read => read = true,
                }
            };
            if !read {
                let _ = timeout(STDERR_TIMEOUT, &mut reading).await;
            }
            io::Result::Ok(status)
        };
        let status = ending.await?;
        Ok((status, collected))
    }

    fn kill(&mut self) {
        // While it has an id, it has not been waited for, so the id and the group are still its
        // own.
        let group = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for ProgramGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Keeps the end of what a program writes.
async fn read_end(mut stderr: ChildStderr, end: &mut Vec<u8>) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        end.extend_from_slice(&buffer[..length]);
        let excess = end.len().saturating_sub(MAX_STDERR);
        end.drain(..excess);
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Locates a program. Like a shell, searches PATH for a name without a slash.
fn locate(program: &Path) -> Result<PathBuf, String> {
    let shown = program.display();
    if program.as_os_str().is_empty() {
        return Err("the name of the program is empty".to_owned());
    }
    let is_executable =
        |path: &Path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file();
    if program.components().count() == 1 && !program.as_os_str().as_encoded_bytes().contains(&b'/') {
        let path = std::env::var_os("PATH").unwrap_or_default();
        return std::env::split_paths(&path)
            .map(|folder| folder.join(program))
            .find(|candidate| is_executable(candidate))
            .ok_or_else(|| {
                format!("there is no program {shown} in PATH; for one in this folder write ./{shown}")
            });
    }
    if is_executable(program) {
        return Ok(program.to_owned());
    }
    match program.metadata() {
        Ok(metadata) if metadata.is_file() => {
            Err(format!("the program {shown} is not executable; run: chmod +x {shown}"))
        }
        Ok(_) => Err(format!("the program {shown} is not a file; name one")),
        Err(error) => Err(format!("cannot find the program {shown}: {error}")),
    }
}
