//! A program that is started for each event.

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

use crate::model::Event;
use crate::webhook::teller::{Answer, Message, Teller, Told};

/// How many of one endpoint's programs may run: mostly in the order of the events, and yet one that hangs does not stop
/// the others.
pub(super) const AT_ONCE: usize = 2;

/// The end of what a program writes to its standard error that is noted.
const SAID_LIMIT: usize = 300;

/// After its end a program's standard error is read for so long: a child that it left behind may keep it open.
const LINGER: Duration = Duration::from_millis(100);

/// One endpoint that is told by a program.
pub(super) struct Program {
    path: PathBuf,
    name: String,
    limit: Duration,
}

impl Program {
    /// The time that a program has.
    pub(super) const LIMIT: Duration = Duration::from_secs(60);

    /// # Errors
    /// What is wrong with the program, and what to do.
    pub(super) fn new(program: &Path, limit: Duration) -> Result<Program, String> {
        Ok(Program { path: find(program)?, name: program.display().to_string(), limit })
    }

    async fn start(&self) -> io::Result<Child> {
        let mut tries = 0;
        loop {
            let started = Command::new(&self.path)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                // Its children can be killed with it, and a Ctrl-C for the server is not meant for it.
                .process_group(0)
                .spawn();
            match started {
                // Somebody writes the program just now, or a process that does not yet exist fully does.
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
impl Teller for Program {
    async fn tell(&self, event: &Event, _at: Timestamp) -> Told {
        let mut line = Message::with_id(event);
        line.push(b'\n');
        let child = match self.start().await {
            Ok(child) => child,
            Err(error) => return Told::new(Answer::Failed, format!("cannot start {}: {error}", self.name)),
        };
        let mut running = Running(child);
        match timeout(self.limit, running.feed(&line)).await {
            Ok(Ok((status, said))) => {
                let answer = if status.success() { Answer::Delivered } else { Answer::Failed };
                let told = Told::new(answer, describe(status));
                if status.success() { told } else { told.saying(&said, SAID_LIMIT) }
            }
            Ok(Err(error)) => Told::new(Answer::Failed, format!("{} was lost: {error}", self.name)),
            Err(_) => {
                running.kill();
                // Only a process that the kernel cannot end is still there then; tokio sees to it later.
                let _ = timeout(Duration::from_secs(1), running.0.wait()).await;
                Told::new(Answer::Failed, format!("killed: it had not ended after {:?}", self.limit))
            }
        }
    }

    fn limit(&self) -> Duration {
        self.limit + Duration::from_secs(2)
    }

    fn at_once(&self) -> usize {
        AT_ONCE
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// A program that is killed with all its children if nobody waits for it any more.
struct Running(Child);

impl Running {
    /// Gives it its line, and waits for its end.
    async fn feed(&mut self, line: &[u8]) -> io::Result<(ExitStatus, Vec<u8>)> {
        let stdin = self.0.stdin.take();
        let stderr = self.0.stderr.take();
        let mut said = Vec::new();
        let feeding = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read has not failed by that: its exit status says what it thinks.
                let _ = stdin.write_all(line).await;
            }
            // Dropped here: the end of its input.
            std::future::pending::<()>().await;
        };
        let listening = async {
            if let Some(stderr) = stderr {
                listen(stderr, &mut said).await;
            }
        };
        let child = &mut self.0;
        let ending = async {
            tokio::pin!(feeding, listening);
            let mut heard = false;
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status?,
                    () = &mut feeding => {}
                    () = &mut listening, if !heard => heard = true,
                }
            };
            if !heard {
                let _ = timeout(LINGER, &mut listening).await;
            }
            io::Result::Ok(status)
        };
        let status = ending.await?;
        Ok((status, said))
    }

    fn kill(&mut self) {
        // Nobody has waited for it, if it has an id: so the id, and the group's, is still its own.
        let group = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Keeps the end of what is written.
async fn listen(mut stderr: ChildStderr, said: &mut Vec<u8>) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        said.extend_from_slice(&buffer[..length]);
        let excess = said.len().saturating_sub(SAID_LIMIT);
        said.drain(..excess);
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Where a program is: like a shell, a name without a slash is looked for in PATH.
fn find(program: &Path) -> Result<PathBuf, String> {
    let shown = program.display();
    if program.as_os_str().is_empty() {
        return Err("it names no program".to_owned());
    }
    let runs = |path: &Path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file();
    if program.components().count() == 1 && !program.as_os_str().as_encoded_bytes().contains(&b'/') {
        let path = std::env::var_os("PATH").unwrap_or_default();
        return std::env::split_paths(&path)
            .map(|folder| folder.join(program))
            .find(|candidate| runs(candidate))
            .ok_or_else(|| {
                format!("there is no program {shown} in PATH; for one in this folder write ./{shown}")
            });
    }
    if runs(program) {
        return Ok(program.to_owned());
    }
    match program.metadata() {
        Ok(metadata) if metadata.is_file() => {
            Err(format!("the program {shown} is not executable; run: chmod +x {shown}"))
        }
        Ok(_) => Err(format!("{shown} is no file, so it cannot be run")),
        Err(error) => Err(format!("the program {shown} cannot be found: {error}")),
    }
}
