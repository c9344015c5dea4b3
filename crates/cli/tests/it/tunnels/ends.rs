//! How tunnels end: in order in each direction, by signals, and with what cannot be reached.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use outflow_testkit::needs;
use rustix::process::{Pid, Signal, kill_process};

use super::tunnel::Tunnel;
use crate::support::legs::{TestTarget, patient};
use crate::support::{ChildProgram, Serving, Sshd, assert_same, noise, until};

#[test]
fn ssh_that_is_done_ends_its_tunnel_in_order() {
    needs!("ssh", "sshd");
    let sshd = Sshd::start();
    let tunnel = Tunnel::start(&["--allow", &format!("127.0.0.1:{}", sshd.addr.port())]);
    let way = tunnel.way(tunnel.addr);
    // It sends its helper a signal when it is done.
    let said = ChildProgram::start(sshd.client("ssh", &way).args(["127.0.0.1", "echo here"])).finish();
    assert_eq!((&*said.stdout, &*said.stderr), (&b"here\n"[..], &b""[..]));
    tunnel.log_line(&["tunnel ended", "\"end\":\"complete\""]);
}

#[test]
fn each_protocol_carries_both_directions_to_their_ends() {
    let target = TestTarget::new();
    let tunnel = Tunnel::start(&["--allow", &target.addr.to_string()]);
    let (up, down) = (noise(1, 3_000_000), noise(2, 4_000_000));
    for more in [&["--resume"][..], &["--no-resume"], &["--via", "websocket"], &["--via", "purr"]] {
        let mut client = tunnel.client("connect", &[]);
        client.args(more).arg(tunnel.url());
        client.args([target.addr.ip().to_string(), target.addr.port().to_string()]);
        let (running, mut input) = ChildProgram::start_with_input(&mut client);
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

/// A client that listens.
struct Listening {
    process: Serving,
    addr: SocketAddr,
}

impl Listening {
    fn start(command: &mut Command) -> Listening {
        let process = Serving::start(command);
        let addr = process.announced("listening on tcp://").split('/').next().unwrap().parse().unwrap();
        Listening { process, addr }
    }

    fn connect(&self) -> TcpStream {
        patient(TcpStream::connect(self.addr).unwrap())
    }

    fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    fn code(&mut self) -> Option<i32> {
        self.process.wait().0.code()
    }
}

#[test]
fn who_listens_survives_what_fails_and_finishes_what_is_under_way() {
    let target = TestTarget::new();
    let tunnel = Tunnel::start(&["--allow", &target.addr.to_string(), "--max", "2"]);
    let mut command = tunnel.client("listen", &[]);
    command.args(["127.0.0.1:0", &tunnel.url(), "127.0.0.1", &target.addr.port().to_string()]);
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
    let gone = TestTarget::new().addr;
    let tunnel = Tunnel::start(&["--allow-listen", "127.0.0.1:*"]);
    let mut command = tunnel.client("listen", &[]);
    command.args(["--reverse", "127.0.0.1:0", &tunnel.url(), "127.0.0.1", &gone.port().to_string()]);
    let mut listening = Listening::start(&mut command);
    assert!(listening.connect().read(&mut [0]).is_err());
    listening.terminate();
    assert_eq!(listening.code(), Some(0));
    until("the server listens no more", || TcpStream::connect(listening.addr).is_err().then_some(()));
}

#[test]
fn a_signal_ends_a_tunnel_at_both_ends() {
    let target = TestTarget::new();
    let tunnel = Tunnel::start(&["--allow", &target.addr.to_string()]);
    let mut command = tunnel.client("connect", &[]);
    command.args([&tunnel.url(), "127.0.0.1", &target.addr.port().to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut there = target.accept();
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    there.read_exact(&mut [0]).unwrap();
    kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), Signal::HUP).unwrap();
    // Reset, and long before a session would have been given up.
    assert!(there.read(&mut [0]).is_err());
    let status = until("it has ended", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    tunnel.log_line(&["tunnel ended", "the other end gave up"]);
}
