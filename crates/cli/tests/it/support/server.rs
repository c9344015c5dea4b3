//! The binary, serving a folder for one test.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use outflow_testkit::process::anonymous_memory_of;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{ChildProgram, HttpClient, Ledger, Network, PATIENCE, Reply, output, program, until};

/// The user and group that nobody is.
const NOBODY: u32 = 65534;

/// How a server is started.
pub(crate) struct Setup {
    root: PathBuf,
    cache: Option<PathBuf>,
    ledger: Option<String>,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    unprivileged: bool,
    /// The network namespace that it runs in, and its address there.
    far: Option<(String, Ipv4Addr)>,
}

/// A running server. Ended when it is dropped; that fails if it has panicked.
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
    /// The first line on stdout.
    pub(crate) first_line: String,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    /// Where it takes note of downloads. May outlive the server.
    pub(crate) ledger: Ledger,
}

/// The binary with a clean environment.
pub(crate) fn binary() -> Command {
    command(OsStr::new(env!("CARGO_BIN_EXE_outflow")))
}

fn command(program: &OsStr) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OUTFLOW_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

impl Setup {
    pub(crate) fn of(root: impl AsRef<Path>) -> Setup {
        Setup {
            root: root.as_ref().to_owned(),
            cache: None,
            ledger: None,
            args: Vec::new(),
            env: Vec::new(),
            unprivileged: false,
            far: None,
        }
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Setup {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Setup {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Setup {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// A cache folder that outlives the server; one of its own otherwise.
    pub(crate) fn cache(mut self, cache: &Path) -> Setup {
        self.cache = Some(cache.to_owned());
        self
    }

    /// A ledger that outlives the server; one of its own otherwise.
    pub(crate) fn ledger(mut self, address: impl Into<String>) -> Setup {
        self.ledger = Some(address.into());
        self
    }

    /// As a user who is not root and owns nothing.
    pub(crate) fn unprivileged(mut self) -> Setup {
        self.unprivileged = true;
        self
    }

    /// At the other end of a network.
    pub(crate) fn far(mut self, network: &Network) -> Setup {
        self.far = Some((network.name.clone(), network.there));
        self
    }

    #[track_caller]
    pub(crate) fn start(self) -> Server {
        let (command, own, ledger) = self.command();
        Server::begin(command, ledger.keeping(own))
    }

    /// Starts what cannot begin; returns its exit status and what it wrote to stderr.
    #[track_caller]
    pub(crate) fn fail(self) -> (Option<i32>, String) {
        let (mut command, _own, _) = self.command();
        let output = ChildProgram::start(&mut command).finish();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn command(self) -> (Command, TempDir, Ledger) {
        let own = TempDir::new().unwrap();
        let cache = self.cache.unwrap_or_else(|| own.path().join("cache"));
        let _ = std::fs::create_dir(&cache);
        let state = Ledger::state_of(&own);
        std::fs::create_dir(&state).unwrap();
        let mut command = if self.unprivileged && rustix::process::geteuid().is_root() {
            for folder in [&cache, &state] {
                std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            std::fs::set_permissions(own.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            // The build's folder may be out of nobody's reach.
            let copy = own.path().join("outflow");
            std::fs::copy(env!("CARGO_BIN_EXE_outflow"), &copy).unwrap();
            let mut command = command(OsStr::new("setpriv"));
            command.args([
                format!("--reuid={NOBODY}"),
                format!("--regid={NOBODY}"),
                "--clear-groups".to_owned(),
            ]);
            command.arg(copy);
            command
        } else if let Some((namespace, _)) = &self.far {
            // Becomes what it runs: the process has the id that is known here.
            let mut command = command(OsStr::new("ip"));
            command.args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_outflow")]);
            command
        } else {
            binary()
        };
        let ip = self.far.map_or(Ipv4Addr::LOCALHOST, |(_, ip)| ip);
        command.arg("serve").arg(&self.root).args(["--listen", &format!("{ip}:0"), "--log-format", "json"]);
        command.arg("--cache").arg(&cache).args(&self.args).current_dir(own.path());
        // Also if it is told of another one: nothing of the user's is touched.
        command.env("XDG_STATE_HOME", &state);
        let ledger = self.ledger.map_or_else(|| Ledger::default_in(&own), Ledger::at);
        // Tests of receipts need no large files. What is only counted is tested with the default.
        command.env("OUTFLOW_LEDGER_MIN_SIZE", "0");
        command.envs(ledger.env()).envs(self.env);
        (command, own, ledger)
    }
}

impl Server {
    /// Serves `root` with nothing special.
    #[track_caller]
    pub(crate) fn of(root: impl AsRef<Path>) -> Server {
        Setup::of(root).start()
    }

    /// Starts a command that serves. What it keeps of its own is in `own`.
    #[track_caller]
    pub(crate) fn spawn(mut command: Command, own: TempDir) -> Server {
        let ledger = Ledger::default_in(&own);
        command.envs(ledger.env());
        Server::begin(command, ledger.keeping(own))
    }

    #[track_caller]
    fn begin(mut command: Command, ledger: Ledger) -> Server {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                kept.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let (sender, lines) = mpsc::channel();
        let printer = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let first_line = lines.recv_timeout(PATIENCE);
        let mut server = Server {
            child,
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            first_line: String::new(),
            log,
            readers: vec![reader, printer],
            ledger,
        };
        let Ok(first_line) = first_line else {
            let _ = server.child.kill();
            server.join();
            panic!("the server did not begin: {}", server.log().join("\n"));
        };
        let scheme = |name: &str| first_line.strip_prefix("listening on ")?.strip_prefix(name);
        let addr = scheme("http://").or_else(|| scheme("https://")).and_then(|rest| rest.strip_suffix('/'));
        let addr = addr.unwrap_or_else(|| panic!("not a first line: {first_line:?}"));
        server.addr = addr.parse().unwrap();
        server.first_line = first_line;
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn client(&self) -> HttpClient {
        HttpClient::connect(self.addr)
    }

    /// A GET on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.client().get(path)
    }

    #[track_caller]
    pub(crate) fn fetch(&self, method: &str, path: &str, lines: &str) -> Reply {
        self.client().fetch(method, path, lines)
    }

    /// The `ETag` of a path.
    #[track_caller]
    pub(crate) fn etag(&self, path: &str) -> String {
        self.fetch("HEAD", path, "").expect(200).header("etag").to_owned()
    }

    /// Waits until the archive at `path` has another `ETag` than `before`.
    #[track_caller]
    pub(crate) fn await_other_etag(&self, path: &str, before: &str) -> String {
        let mut client = self.client();
        until("an archive's CRC-32s are known", || {
            let head = client.fetch("HEAD", path, "").expect(200);
            let etag = head.header("etag");
            (etag != before).then(|| etag.to_owned())
        })
    }

    /// Sees to it that the archive at `path` comes in the layout for known CRC-32s. Another address
    /// is given the one before: an address that had both may not continue either without a tag.
    #[track_caller]
    pub(crate) fn know_crcs(&self, path: &str) -> String {
        let streamed = self.etag(path);
        let mut other = program("curl");
        other.args(["--disable", "-sSf", "--noproxy", "*", "--interface", "127.0.0.2", "-o", "/dev/null"]);
        output(other.arg(self.url(path)));
        self.await_other_etag(path, &streamed)
    }

    /// All lines on stderr so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line that has all of `parts`.
    #[track_caller]
    pub(crate) fn log_line(&self, parts: &[&str]) -> String {
        let has_all = |line: &&String| parts.iter().all(|part| line.contains(part));
        let what = format!("the log has {parts:?}");
        until(&what, || self.log.lock().unwrap().iter().find(has_all).cloned())
    }

    /// Waits for the line of a delivery of `path` that ended as `outcome`, and returns its fields.
    #[track_caller]
    pub(crate) fn delivery(&self, path: &str, outcome: &str) -> Value {
        let line = self.log_line(&[&format!("\"path\":\"{path}\""), &format!("\"outcome\":\"{outcome}\"")]);
        fields(&line)
    }

    /// The deliveries of `path` that are logged so far.
    pub(crate) fn deliveries(&self, path: &str) -> Vec<Value> {
        let part = format!("\"path\":\"{path}\"");
        self.log().iter().filter(|line| line.contains(&part)).map(|line| fields(line)).collect()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it has in memory of its own, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        anonymous_memory_of(self.child.id())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = until("the server has ended", || self.child.try_wait().unwrap());
        self.join();
        status
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it in good order, as a restart would.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.close();
    }

    /// The same; what it took note of can still be asked. Everything is in there then: nothing more
    /// will come.
    #[track_caller]
    pub(crate) fn close(mut self) -> Ledger {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.log().join("\n"));
        self.ledger.clone()
    }

    /// Ends it without a moment to write anything down.
    pub(crate) fn kill(mut self) -> Ledger {
        let _ = self.child.kill();
        self.wait();
        self.ledger.clone()
    }

    fn join(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
    }
}

fn fields(line: &str) -> Value {
    let mut line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    match line.get_mut("fields") {
        Some(fields) => fields.take(),
        None => line,
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join();
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("the end of the server's log:\n{}", log[log.len().saturating_sub(30)..].join("\n"));
        } else {
            assert!(
                !log.iter().any(|line| line.contains("panicked")),
                "the server panicked:\n{}",
                log.join("\n")
            );
        }
    }
}
