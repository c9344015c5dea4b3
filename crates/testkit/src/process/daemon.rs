//! Servers of others: each a process with a folder of its own, on a port that the kernel chose.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::program;
use crate::until;

/// A server that is not ours. Ended by its id when this is dropped, and by the kernel if the test
/// is killed.
pub struct Daemon {
    child: Child,
    /// Its folder.
    pub own: TempDir,
}

impl Daemon {
    /// Starts `command`; its output goes to `log` in its folder.
    #[must_use]
    pub fn start(command: &Command, own: TempDir) -> Daemon {
        let log = File::create(own.path().join("log")).unwrap();
        let mut guarded = program("setpriv");
        guarded.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        guarded.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        guarded.current_dir(own.path()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = guarded.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Daemon { child, own }
    }

    /// Its output so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.own.path().join("log")).unwrap()).into_owned()
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// If the program ends first.
    pub fn ready<T>(&mut self, mut ask: impl FnMut(&str) -> Option<T>) -> Result<T, String> {
        until("the server has started", || {
            if let Some(answer) = ask(&self.log()) {
                return Some(Ok(answer));
            }
            let status = self.child.try_wait().unwrap()?;
            Some(Err(format!("{status}: {}", self.log())))
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the end of its log:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
    }
}

/// Starts a server that cannot choose its ports itself; again if another process took a port in
/// between.
#[track_caller]
pub fn with_ports<const N: usize>(
    mut start: impl FnMut([SocketAddr; N]) -> Result<Daemon, String>,
) -> (Daemon, [SocketAddr; N]) {
    let mut failure = String::new();
    for _ in 0..5 {
        let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addrs = held.each_ref().map(|listener| listener.local_addr().unwrap());
        drop(held);
        match start(addrs) {
            Ok(daemon) => return (daemon, addrs),
            Err(error) => failure = error,
        }
    }
    panic!("it did not start: {failure}");
}
