//! PostgreSQL from the system's package: a cluster in a folder of its own, behind a socket in that
//! folder.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::process::assert_installed;
use crate::{PATIENCE, until};

/// A running cluster. Ended by its id when it is dropped, and by the kernel if the test is killed.
pub struct Postgres {
    server: Option<Child>,
    folder: TempDir,
}

impl Postgres {
    /// Makes a cluster with an empty database, and starts it.
    #[track_caller]
    #[must_use]
    pub fn start() -> Postgres {
        assert_installed("postgres");
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        for name in ["data", "socket"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            if let Some((user, group)) = user() {
                std::os::unix::fs::chown(&path, Some(user), Some(group)).unwrap();
            }
        }
        let mut postgres = Postgres { server: None, folder };
        let mut initdb = postgres.command("initdb");
        initdb.arg("-D").arg(postgres.data()).args([
            "-U",
            "outflow",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]);
        initdb.args(["--locale=C.UTF-8"]);
        run(&mut initdb);
        postgres.up();
        postgres.sql("postgres", "CREATE DATABASE outflow");
        postgres
    }

    /// Its address for `--ledger`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("postgres://outflow@localhost/outflow?host={}", self.socket().to_str().unwrap())
    }

    /// Makes another empty database, and returns its address.
    #[track_caller]
    pub fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.address().replace("/outflow?", &format!("/{name}?"))
    }

    /// Starts it, if it does not run.
    #[track_caller]
    pub fn up(&mut self) {
        if self.server.is_some() {
            return;
        }
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data()).arg("-k").arg(self.socket());
        // The machine does not crash, so nothing is synced. The tests' tables are small.
        for setting in ["listen_addresses=", "fsync=off", "max_connections=60", "shared_buffers=32MB"] {
            server.args(["-c", setting]);
        }
        server.stdout(log.try_clone().unwrap()).stderr(log);
        self.server = Some(server.spawn().unwrap());
        until("PostgreSQL answers", || {
            let mut ask = self.psql("postgres", "SELECT 1");
            let ready = ask.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success();
            let ended = self.server.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "PostgreSQL: {ended:?}: {}", self.log());
            ready.then_some(())
        });
    }

    /// Ends it; connections are cut. What was committed is there when it is up again.
    #[track_caller]
    pub fn down(&mut self) {
        self.end(Signal::INT);
    }

    /// Ends it as a crash does.
    #[track_caller]
    pub fn crash(&mut self) {
        self.end(Signal::QUIT);
    }

    /// The result of a statement, without decoration.
    #[track_caller]
    pub fn sql(&self, database: &str, statement: &str) -> String {
        run(&mut self.psql(database, statement))
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut server) = self.server.take() else { return };
        let _ = kill_process(Pid::from_child(&server), signal);
        let begun = Instant::now();
        until("PostgreSQL has ended", || {
            if begun.elapsed() > PATIENCE / 2 {
                let _ = server.kill();
            }
            server.try_wait().unwrap()
        });
    }

    fn psql(&self, database: &str, statement: &str) -> Command {
        let mut psql = self.command("psql");
        psql.arg("-h").arg(self.socket()).args(["-U", "outflow", "-d", database, "-XAtqc", statement]);
        psql
    }

    /// One of its programs, as a user who may run it: not as root.
    fn command(&self, name: &str) -> Command {
        let path = bin().join(name);
        let mut command = Command::new("setpriv");
        if let Some((user, group)) = user() {
            command.args([
                format!("--reuid={user}"),
                format!("--regid={group}"),
                "--clear-groups".to_owned(),
            ]);
        }
        command.args(["--pdeathsig", "INT", "--"]).arg(path);
        command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The socket that it listens on.
    #[must_use]
    pub fn socket_file(&self) -> PathBuf {
        self.socket().join(".s.PGSQL.5432")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end(Signal::QUIT);
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the end of PostgreSQL's log:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
    }
}

/// The newest one that is installed.
fn bin() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("postgresql is installed");
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.unwrap().path()).max_by_key(|path| version(path));
    newest.expect("a version of postgresql").join("bin")
}

/// The user to run it as if the test is root: the package's.
fn user() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    // The package makes this folder for its user.
    let owner = fs::metadata("/var/lib/postgresql").expect("postgresql is installed");
    Some((owner.uid(), owner.gid()))
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
