//! Somebody else's servers: each a process with its own folder, on a port that the kernel chose.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{program, until};

/// Somebody else's server. Ended by its id when this is dropped, and by the kernel if the test is
/// killed.
pub(super) struct Daemon {
    child: Child,
    pub(super) own: TempDir,
}

impl Daemon {
    /// Starts `command`; what it prints is in `log` in its folder.
    pub(super) fn start(command: &Command, own: TempDir) -> Daemon {
        let log = File::create(own.path().join("log")).unwrap();
        let mut guarded = program("setpriv");
        guarded.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        guarded.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        guarded.current_dir(own.path()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = guarded.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Daemon { child, own }
    }

    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.own.path().join("log")).unwrap()).into_owned()
    }

    /// Waits for an answer; nothing if the program ends first.
    pub(super) fn ready<T>(&mut self, mut ask: impl FnMut(&str) -> Option<T>) -> Result<T, String> {
        until("somebody else's server has begun", || {
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

/// Starts what cannot choose a port itself, again if somebody else took the port in between.
#[track_caller]
pub(super) fn with_ports<const N: usize>(
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
    panic!("it did not begin: {failure}");
}
