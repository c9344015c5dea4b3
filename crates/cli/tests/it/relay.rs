//! `outflow relay` as a process: real downloads through it, what it costs when nothing happens, how
//! it ends.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use outflow_testkit::needs;
use rustix::net::sockopt;
use rustix::process::Signal;

use crate::support::{
    ChildProgram, FileTree, PATIENCE, Serving, Setup, assert_same, binary, noise, program, until,
};

/// A running relay. Killed when it is dropped.
struct Relay {
    process: Serving,
    /// Behind `relaying on`.
    address: String,
}

impl Relay {
    #[track_caller]
    fn start(args: &[&str]) -> Relay {
        Relay::spawn(binary().arg("relay").args(args))
    }

    #[track_caller]
    fn spawn(command: &mut Command) -> Relay {
        let process = Serving::start(command);
        let address = process.announced("relaying on ").to_owned();
        Relay { process, address }
    }

    #[track_caller]
    fn connect(&self) -> TcpStream {
        patient(TcpStream::connect(&self.address).unwrap())
    }

    fn addr(&self) -> SocketAddr {
        self.address.parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Ends it in good order, and returns what it has logged.
    #[track_caller]
    fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        self.wait()
    }

    #[track_caller]
    fn wait(&mut self) -> String {
        let (status, log) = self.process.wait();
        assert!(status.success() && !log.contains("panicked"), "{status}: {log}");
        log
    }

    /// Clock ticks of 10 ms that it has worked.
    fn worked(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn descriptors(&self, kind: &str) -> usize {
        let folder = format!("/proc/{}/fd", self.process.id());
        let links = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read_link(entry.unwrap().path()));
        links.filter(|link| link.as_ref().is_ok_and(|link| link.to_string_lossy().starts_with(kind))).count()
    }

    /// For so long it works next to nothing.
    #[track_caller]
    fn assert_rests(&self, time: Duration) {
        let before = self.worked();
        // What is looked at is time itself.
        std::thread::sleep(time);
        let ticks = self.worked() - before;
        assert!(ticks <= 5, "{ticks} ticks of 10 ms in {time:?}");
    }
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A target, and a relay in front of it.
fn before_target(args: &[&str]) -> (TcpListener, Relay) {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = target.local_addr().unwrap().to_string();
    let relay = Relay::start(&[&["127.0.0.1:0", &address], args].concat());
    (target, relay)
}

#[track_caller]
fn pair(target: &TcpListener, relay: &Relay) -> (TcpStream, TcpStream) {
    let client = relay.connect();
    (client, patient(target.accept().unwrap().0))
}

/// The number behind `name=` in a line of the log that has `what`.
#[track_caller]
fn logged(log: &str, what: &str, name: &str) -> u64 {
    let line = log.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what:?}: {log}"));
    let behind = line.split(&format!(" {name}=")).nth(1).unwrap_or_else(|| panic!("no {name}: {line}"));
    behind.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_download_comes_through_and_the_server_knows_whose_it_is() {
    needs!("curl");
    let tree = FileTree::new();
    let bytes = noise(7, 40_000_000);
    tree.file("a.bin", &bytes);
    for version in ["v1", "v2"] {
        let server =
            Setup::of(tree.root()).args(["--trusted-proxies", "127.0.0.1", "--proxy-protocol"]).start();
        let relay = Relay::start(&["127.0.0.1:0", &server.addr.to_string(), "--proxy-protocol", version]);
        let own = tempfile::tempdir().unwrap();
        let saved = own.path().join("saved");
        let mut curl = program("curl");
        curl.args(["--disable", "-sSf", "--noproxy", "*", "--interface", "127.0.0.9", "-o"]).arg(&saved);
        crate::support::output(curl.arg(format!("http://{}/a.bin", relay.address)));
        assert_same(&std::fs::read(&saved).unwrap(), &bytes, "what curl has saved");
        let downloads = server.close().assert_completed(1);
        assert_eq!(downloads[0]["client"], "127.0.0.9");
        let log = relay.stop();
        assert_eq!(logged(&log, "relayed", "up") + logged(&log, "relayed", "down") / 1_000_000, {
            logged(&log, "relayed", "up") + 40
        });
        let (spliced, copied) = (logged(&log, "relayed", "spliced"), logged(&log, "relayed", "copied"));
        assert!(spliced > copied * 4, "{spliced} spliced, {copied} copied");
        assert_eq!(logged(&log, "stopped", "unspliceable"), 0);
    }
}

#[test]
fn it_rests_while_nobody_speaks_and_while_nobody_reads() {
    let (target, relay) = before_target(&[]);
    let idle: Vec<_> = (0..200).map(|_| pair(&target, &relay)).collect();
    // One in a hundred has more to say than anybody takes.
    let full: Vec<_> = (0..2).map(|_| pair(&target, &relay)).collect();
    for (client, other) in &full {
        for mut stream in [client, other] {
            stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            while stream.write(&[1; 1_000_000]).is_ok() {}
        }
    }
    // And one has said all, but waits for an answer.
    let (half, other) = pair(&target, &relay);
    half.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!((&other).read(&mut [0]).unwrap(), 0);
    relay.assert_rests(Duration::from_secs(2));
    // Only where bytes are in flight there is a pipe; a thread keeps a few more.
    let threads = std::thread::available_parallelism().unwrap().get();
    let pipes = relay.descriptors("pipe:");
    assert!(pipes <= 2 * (4 + 8 * (threads + 1)) + 3, "{pipes} ends of pipes");
    drop((idle, full));
}

/// Sets the limit of open files; of the process itself, or of one that runs.
fn limit_files(most: u32, more: &[&str]) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={most}:1024")).args(more);
    command
}

#[test]
fn whoever_cannot_have_a_target_waits_to_be_accepted() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = target.local_addr().unwrap().to_string();
    let mut command = Command::new("prlimit");
    command.args(["--nofile=64:64", "--", env!("CARGO_BIN_EXE_outflow"), "relay", "127.0.0.1:0"]);
    command.args([&address, "--max-connections", "1000"]);
    let relay = Relay::spawn(&mut command);
    let clients: Vec<TcpStream> = (0..100).map(|_| relay.connect()).collect();
    relay.assert_rests(Duration::from_secs(1));
    clients.iter().for_each(|client| client.shutdown(std::net::Shutdown::Write).unwrap());
    for _ in &clients {
        target.accept().unwrap().0.write_all(b"your turn").unwrap();
    }
    for mut client in clients {
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"your turn");
    }
    assert!(relay.stop().contains("raise the limit"));
}

#[test]
fn without_descriptors_it_does_not_spin_and_goes_on_when_there_are_some() {
    let (target, relay) = before_target(&[]);
    let pid = relay.process.id().to_string();
    let before = relay.descriptors("");
    crate::support::output(&mut limit_files(u32::try_from(before).unwrap() + 1, &["--pid", &pid]));
    let clients: Vec<TcpStream> = (0..20).map(|_| relay.connect()).collect();
    relay.assert_rests(Duration::from_secs(1));
    drop(clients);
    crate::support::output(&mut limit_files(1024, &["--pid", &pid]));
    let mut client = relay.connect();
    client.write_all(b"still there").unwrap();
    let mut got = [0; 11];
    // Before it come those who have left in the meantime.
    while patient(target.accept().unwrap().0).read_exact(&mut got).is_err() {}
    assert_eq!(&got, b"still there");
    let log = relay.stop();
    assert!(log.contains("cannot accept") || log.contains("cannot connect"), "{log}");
}

#[test]
fn a_broken_connection_breaks_on_the_other_side() {
    let (target, relay) = before_target(&["--log-format", "json"]);
    let (mut client, mut other) = pair(&target, &relay);
    other.write_all(b"half of it").unwrap();
    client.read_exact(&mut [0; 10]).unwrap();
    sockopt::set_socket_linger(&other, Some(Duration::ZERO)).unwrap();
    drop(other);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(relay.stop().contains("\"end\":\"target broken\""));
}

#[test]
fn silence_ends_a_connection() {
    let (target, relay) = before_target(&["--idle-timeout", "1s"]);
    let (mut client, _other) = pair(&target, &relay);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(relay.stop().contains("end=\"idle\""));
}

#[test]
fn a_signal_lets_connections_finish_and_a_second_one_does_not() {
    let (target, mut relay) = before_target(&["--drain", "10m"]);
    let (mut client, mut other) = pair(&target, &relay);
    relay.signal(Signal::TERM);
    until("nobody is taken any more", || TcpStream::connect(relay.addr()).is_err().then_some(()));
    // Those who have tried it have left; their ends at the target go with it.
    drop(target);
    other.write_all(b"the rest").unwrap();
    drop(other);
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"the rest");
    drop(client);
    relay.wait();

    let (target, mut relay) = before_target(&["--drain", "10m"]);
    let (mut client, _other) = pair(&target, &relay);
    relay.signal(Signal::TERM);
    until("nobody is taken any more", || TcpStream::connect(relay.addr()).is_err().then_some(()));
    relay.signal(Signal::INT);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    relay.wait();
}

#[test]
fn a_unix_socket_is_left_behind_by_no_end_and_taken_over_after_any() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.sock");
    let listen = format!("unix:{}", path.display());
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = target.local_addr().unwrap().to_string();
    let says_hello = |path: &Path| {
        let mut client = UnixStream::connect(path).unwrap();
        client.write_all(b"hello").unwrap();
        // The relay that checked whether another one listens has connected and sent nothing.
        let hears = || patient(target.accept().unwrap().0).read_exact(&mut [0; 5]).is_ok();
        assert!(hears() || hears());
    };
    let killed = Relay::start(&[&listen, &address]);
    assert_eq!(killed.address, listen);
    says_hello(&path);
    let second = fails(&[&listen, &address], 1);
    assert!(second.contains("another program already listens there"), "{second}");
    drop(killed);
    assert!(path.exists());
    let relay = Relay::start(&[&listen, &address]);
    says_hello(&path);
    relay.stop();
    assert!(!path.exists());
}

fn fails(args: &[&str], code: i32) -> String {
    let Output { status, stdout, stderr } = ChildProgram::start(binary().arg("relay").args(args)).finish();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!((status.code(), stdout.is_empty()), (Some(code), true), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

#[test]
fn what_cannot_be_relayed_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes");
    std::fs::write(&file, "dear").unwrap();
    let file = format!("unix:{}", file.display());
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = busy.local_addr().unwrap().to_string();
    for (args, code, part) in [
        (&["127.0.0.1:0"][..], 2, "TARGET"),
        (&["127.0.0.1", "127.0.0.1:1"], 2, "host:port"),
        (&["127.0.0.1:0", "::1:80"], 2, "unix:/path"),
        (&["127.0.0.1:0", "127.0.0.1:0"], 2, "from 1 to 65535"),
        (&["127.0.0.1:9", "127.0.0.1:9"], 2, "name another target"),
        (&["127.0.0.1:0", "127.0.0.1:1", "--connect-timeout", "0s"], 2, "at least 1s"),
        (&["127.0.0.1:0", "127.0.0.1:1", "--policy", "random"], 2, "least-connections"),
        (&[&busy, "127.0.0.1:1"], 1, "choose another port"),
        (&[&file, "127.0.0.1:1"], 1, "not a socket"),
        (&["unix:/no/such/folder/socket", "127.0.0.1:1"], 1, "no such folder"),
    ] {
        let stderr = fails(args, code);
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
}
