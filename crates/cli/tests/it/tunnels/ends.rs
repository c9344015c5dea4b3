//! How tunnels end: in order in each direction, by signals, and with what cannot be reached.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::legs::{TOKEN, Target, patient};
use crate::support::{Program, Server, Sshd, assert_same, binary, noise, until};

/// A server of one user, anna, who may reach what is listed, and where her token is.
fn serve(arguments: &[&str]) -> (Server, TempDir) {
    let own = TempDir::new().unwrap();
    let users = own.path().join("users.toml");
    fs::write(&users, format!("[[user]]\nname = \"anna\"\ntoken = \"{TOKEN}\"\n")).unwrap();
    let mut command = binary();
    command.args(["tunnel", "serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--users"]);
    command.arg(users).args(arguments);
    let hers = TempDir::new().unwrap();
    fs::write(hers.path().join("token"), format!("{TOKEN}\n")).unwrap();
    (Server::spawn(command, own), hers)
}

/// `outflow tunnel` of hers.
fn tunnel(command: &str, hers: &TempDir) -> Command {
    let mut client = binary();
    client.args(["tunnel", command, "--token-file"]).arg(hers.path().join("token"));
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        client.env_remove(proxy);
    }
    client
}

fn url(addr: SocketAddr) -> String {
    format!("http://{addr}")
}

#[test]
fn ssh_that_is_done_ends_its_tunnel_in_order() {
    let sshd = Sshd::start();
    let (server, hers) = serve(&["--allow", &format!("127.0.0.1:{}", sshd.addr.port())]);
    let (outflow, token) = (env!("CARGO_BIN_EXE_outflow"), hers.path().join("token"));
    let way = format!("{outflow} tunnel connect --token-file {} {} %h %p", token.display(), url(server.addr));
    // It sends its helper a signal when it is done.
    let said = Program::start(sshd.client("ssh", &way).args(["127.0.0.1", "echo here"])).finish();
    assert_eq!((&*said.stdout, &*said.stderr), (&b"here\n"[..], &b""[..]));
    server.log_line(&["tunnel ended", "\"end\":\"complete\""]);
}

#[test]
fn each_protocol_carries_both_directions_to_their_ends() {
    let target = Target::new();
    let (server, hers) = serve(&["--allow", &target.addr.to_string()]);
    let (up, down) = (noise(1, 3_000_000), noise(2, 4_000_000));
    for more in [&["--resume"][..], &["--no-resume"], &["--via", "websocket"], &["--via", "purr"]] {
        let mut client = tunnel("connect", &hers);
        client.args(more).arg(url(server.addr));
        client.args([target.addr.ip().to_string(), target.addr.port().to_string()]);
        let (running, mut input) = Program::start_with_input(&mut client);
        let mut there = target.accept();
        let sent = up.clone();
        let sending = std::thread::spawn(move || input.write_all(&sent).unwrap());
        let mut got = vec![0; up.len()];
        there.read_exact(&mut got).unwrap();
        assert_same(&got, &up, "up");
        // Its input has ended, and it is only now that the answer begins.
        sending.join().unwrap();
        assert_eq!(there.read(&mut [0]).unwrap(), 0, "{more:?}");
        there.write_all(&down).unwrap();
        drop(there);
        let done = running.finish();
        assert_eq!((done.status.code(), done.stderr.len()), (Some(0), 0), "{more:?} {done:?}");
        assert_same(&done.stdout, &down, "down");
    }
}

/// One that listens.
struct Listening {
    child: Child,
    addr: SocketAddr,
}

impl Listening {
    fn start(command: &mut Command) -> Listening {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.strip_prefix("listening on tcp://").and_then(|rest| rest.split('/').next());
        Listening { addr: addr.unwrap_or_else(|| panic!("{line:?}")).parse().unwrap(), child }
    }

    fn connect(&self) -> TcpStream {
        patient(TcpStream::connect(self.addr).unwrap())
    }

    fn terminate(&self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        until("the client has ended", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_listens_survives_what_fails_and_finishes_what_is_under_way() {
    let target = Target::new();
    let (server, hers) = serve(&["--allow", &target.addr.to_string(), "--max-tunnels", "2"]);
    let mut command = tunnel("listen", &hers);
    command.args(["127.0.0.1:0", &url(server.addr), "127.0.0.1", &target.addr.port().to_string()]);
    let mut listening = Listening::start(&mut command);
    let mut pairs: Vec<(TcpStream, TcpStream)> = (0..2)
        .map(|_| {
            let mine = listening.connect();
            (mine, target.accept())
        })
        .collect();
    // There is no room for a third one at the server: it is reset, and the others go on.
    let mut third = listening.connect();
    assert!(third.read(&mut [0]).is_err());
    for (mine, there) in &mut pairs {
        mine.write_all(b"ping").unwrap();
        let mut got = [0; 4];
        there.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");
    }
    let (mut mine, mut there) = pairs.pop().unwrap();
    drop(pairs);
    listening.terminate();
    until("nobody listens any more", || TcpStream::connect(listening.addr).is_err().then_some(()));
    // What is under way gets to its end.
    there.write_all(b"and goodbye").unwrap();
    drop(there);
    let mut got = String::new();
    mine.read_to_string(&mut got).unwrap();
    assert_eq!(got, "and goodbye");
    drop(mine);
    assert_eq!(listening.code(), Some(0));
}

#[test]
fn whoever_visits_what_is_not_here_is_reset() {
    let gone = Target::new().addr;
    let (server, hers) = serve(&["--allow-listen", "127.0.0.1:*"]);
    let mut command = tunnel("listen", &hers);
    command.args(["--reverse", "127.0.0.1:0", &url(server.addr), "127.0.0.1", &gone.port().to_string()]);
    let mut listening = Listening::start(&mut command);
    assert!(listening.connect().read(&mut [0]).is_err());
    listening.terminate();
    assert_eq!(listening.code(), Some(0));
    until("the server listens no more", || TcpStream::connect(listening.addr).is_err().then_some(()));
}

#[test]
fn a_signal_ends_a_tunnel_at_both_ends() {
    let target = Target::new();
    let (server, hers) = serve(&["--allow", &target.addr.to_string()]);
    let mut command = tunnel("connect", &hers);
    command.args([&url(server.addr), "127.0.0.1", &target.addr.port().to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut there = target.accept();
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    there.read_exact(&mut [0]).unwrap();
    kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), Signal::HUP).unwrap();
    // Reset, and long before a session would have been given up.
    assert!(there.read(&mut [0]).is_err());
    let status = until("it has ended", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    server.log_line(&["tunnel ended", "the other end gave up"]);
}
