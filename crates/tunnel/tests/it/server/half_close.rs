//! Each protocol, each side first, data in flight: all bytes arrive, and each direction ends by
//! itself.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use super::support::{LegProtocol, Running, TOKEN, TestLeg, TestTarget, assert_same, noise};

/// More bytes than all buffers on the way hold.
const LARGE: usize = 12_000_000;

/// Sends all of `bytes` in the background, then ends the direction.
fn sending(mut stream: TcpStream, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    })
}

fn all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

#[test]
fn the_client_ends_first_and_gets_the_answer() {
    let server = Running::start();
    for protocol in LegProtocol::ALL {
        for (asked, answered) in [(0, 0), (1, 1), (LARGE, 7), (7, LARGE)] {
            let (request, response) = (noise(1, asked), noise(2, answered));
            let target = TestTarget::new();
            let mut leg = TestLeg::open(server.addr, protocol, target.addr);
            let mut far = target.accept();
            let mut other = leg.try_clone();
            let sent = request.clone();
            let client = std::thread::spawn(move || {
                other.send(&sent).unwrap();
                other.end();
            });
            assert_same(&all(&mut far), &request, &format!("{protocol:?}: what the target got"));
            client.join().unwrap();
            // It sends only now, long after the other direction has ended.
            let far = sending(far, response.clone());
            let got = leg.read_to_end().unwrap();
            assert_same(&got, &response, &format!("{protocol:?}: what the client got"));
            far.join().unwrap();
        }
    }
}

#[test]
fn the_target_ends_first_and_hears_the_rest() {
    let server = Running::start();
    for protocol in LegProtocol::ALL {
        for (asked, answered) in [(0, 0), (1, 1), (LARGE, 7), (7, LARGE)] {
            let (request, response) = (noise(3, asked), noise(4, answered));
            let target = TestTarget::new();
            let mut leg = TestLeg::open(server.addr, protocol, target.addr);
            let mut far = target.accept();
            let sender = sending(far.try_clone().unwrap(), response.clone());
            let got = leg.read_to_end().unwrap();
            assert_same(&got, &response, &format!("{protocol:?}: what the client got"));
            sender.join().unwrap();
            let sent = request.clone();
            let client = std::thread::spawn(move || {
                leg.send(&sent).unwrap();
                leg.end();
                leg
            });
            assert_same(&all(&mut far), &request, &format!("{protocol:?}: what the target got"));
            client.join().unwrap();
        }
    }
}

#[test]
fn both_speak_at_once_and_end_when_they_like() {
    let server = Running::start();
    for protocol in LegProtocol::ALL {
        let (request, response) = (noise(5, LARGE), noise(6, LARGE / 2));
        let target = TestTarget::new();
        let mut leg = TestLeg::open(server.addr, protocol, target.addr);
        let mut far = target.accept();
        let sender = sending(far.try_clone().unwrap(), response.clone());
        let mut other = leg.try_clone();
        let sent = request.clone();
        let client = std::thread::spawn(move || {
            other.send(&sent).unwrap();
            other.end();
        });
        let heard = std::thread::spawn(move || all(&mut far));
        assert_same(&leg.read_to_end().unwrap(), &response, &format!("{protocol:?}: what the client got"));
        assert_same(&heard.join().unwrap(), &request, &format!("{protocol:?}: what the target got"));
        sender.join().unwrap();
        client.join().unwrap();
    }
}

#[test]
fn a_target_that_breaks_is_no_end_for_the_client() {
    let server = Running::start();
    for protocol in LegProtocol::ALL {
        let target = TestTarget::new();
        let mut leg = TestLeg::open(server.addr, protocol, target.addr);
        let mut far = target.accept();
        far.write_all(b"half").unwrap();
        assert_eq!(leg.read_exact(4).unwrap(), b"half");
        rustix::net::sockopt::set_socket_linger(&far, Some(std::time::Duration::ZERO)).unwrap();
        drop(far);
        leg.read_to_end().expect_err("what was cut looked whole");
    }
}

#[test]
fn a_client_that_breaks_is_no_end_for_the_target() {
    let server = Running::start();
    for protocol in LegProtocol::ALL {
        for reset in [true, false] {
            if !reset && matches!(protocol, LegProtocol::Connect | LegProtocol::Purr) {
                // Without frames, the end of the leg is the end of the direction.
                continue;
            }
            let target = TestTarget::new();
            let mut leg = TestLeg::open(server.addr, protocol, target.addr);
            let mut far = target.accept();
            leg.send(b"half").unwrap();
            let mut half = [0; 4];
            far.read_exact(&mut half).unwrap();
            if reset {
                rustix::net::sockopt::set_socket_linger(&leg.stream, Some(std::time::Duration::ZERO))
                    .unwrap();
            }
            drop(leg);
            let mut rest = Vec::new();
            let error = far.read_to_end(&mut rest).expect_err("what was cut looked whole");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{protocol:?}");
        }
    }
}

#[test]
fn what_either_side_says_at_once_is_not_lost() {
    let server = Running::start();
    for protocol in [LegProtocol::Connect, LegProtocol::Purr] {
        let target = TestTarget::new();
        // SSH and VNC servers send first; a client may send before the response.
        let addr = target.addr;
        let greeter = std::thread::spawn(move || {
            let mut far = target.accept();
            far.write_all(b"SSH-2.0-x\r\n").unwrap();
            let mut early = [0; 5];
            far.read_exact(&mut early).unwrap();
            far.write_all(&early).unwrap();
        });
        let request = protocol.request(addr, &format!("Authorization: Bearer {TOKEN}\r\n"));
        let (mut leg, _) = TestLeg::ask(server.addr, protocol, &(request + "early")).unwrap();
        assert_eq!(leg.read_exact(16).unwrap(), b"SSH-2.0-x\r\nearly");
        greeter.join().unwrap();
    }
}
