//! Programs that serve: they say in their first line that they are ready.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::{PATIENCE, until};

/// A program that serves. Killed by its id when this is dropped.
pub struct Serving {
    child: Child,
    /// The first line on stdout.
    pub first_line: String,
    /// What it writes to stderr, until its end.
    log: Option<JoinHandle<String>>,
}

impl Serving {
    /// Starts `command`, and waits for its first line.
    #[track_caller]
    pub fn start(command: &mut Command) -> Serving {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let log = std::thread::spawn(move || {
            let mut log = Vec::new();
            let _ = stderr.read_to_end(&mut log);
            String::from_utf8_lossy(&log).into_owned()
        });
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut serving = Serving { child, first_line: String::new(), log: Some(log) };
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => serving.first_line = line,
            Err(_) => panic!("{command:?} did not start:\n{}", serving.kill()),
        }
        serving
    }

    /// What its first line says behind `words`.
    #[track_caller]
    #[must_use]
    pub fn announced(&self, words: &str) -> &str {
        let line = &self.first_line;
        line.strip_prefix(words).unwrap_or_else(|| panic!("not {words:?}: {line:?}"))
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, and returns what it wrote to stderr.
    #[track_caller]
    pub fn wait(&mut self) -> (ExitStatus, String) {
        let status = until("the program has ended", || self.child.try_wait().unwrap());
        (status, self.log())
    }

    fn log(&mut self) -> String {
        self.log.take().map(|log| log.join().unwrap()).unwrap_or_default()
    }

    fn kill(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let log = self.kill();
        if std::thread::panicking() && !log.is_empty() {
            eprintln!("the program's log:\n{log}");
        }
    }
}
