//! What a client exposes at the server.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use outflow_tunnel::server::AllowList;
use outflow_tunnel::server::TunnelSettings;

use super::support::{LegProtocol, Running, TOKEN, TestLeg, patient, settings};

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

fn server() -> Running {
    let listen = AllowList::parse(["127.0.0.1:*"]).unwrap();
    // Port 0, any free port, is allowed where all ports are.
    Running::with(TunnelSettings { listen, ..settings(&[]) })
}

fn ask(server: &Running, path: &str, lines: &str) -> Result<TestLeg, (u16, String)> {
    let request = LegProtocol::Capsules.request_at(path, "", lines);
    let asked = TestLeg::ask(server.addr, LegProtocol::Capsules, &request);
    asked.map(|(leg, _)| leg).map_err(|(head, body)| (head.status, body))
}

/// The next line from the server.
fn line(leg: &mut TestLeg) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.append(&mut leg.read_exact(1).unwrap());
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

#[test]
fn connections_that_are_accepted_reach_the_client() {
    let server = server();
    let mut control = ask(&server, "/.well-known/outflow/listen/127.0.0.1/0/", &bearer()).unwrap();
    let said = line(&mut control);
    let at: SocketAddr = said.strip_prefix("listening ").unwrap().parse().unwrap();
    for _ in 0..3 {
        let mut visitor = patient(TcpStream::connect(at).unwrap());
        visitor.write_all(b"knock").unwrap();
        let said = line(&mut control);
        let words: Vec<&str> = said.split(' ').collect();
        assert_eq!((words[0], words[2]), ("accepted", &*visitor.local_addr().unwrap().to_string()));
        let path = format!("/.well-known/outflow/accept/{}/", words[1]);
        // Only for its owner, and only once.
        assert_eq!(
            ask(&server, &path, "Authorization: Bearer another token, ben's\r\n").err().unwrap().0,
            404
        );
        let mut leg = ask(&server, &path, &bearer()).unwrap();
        assert_eq!(ask(&server, &path, &bearer()).err().unwrap().0, 404);
        assert_eq!(leg.read_exact(5).unwrap(), b"knock");
        leg.send(b"who is there?").unwrap();
        leg.end();
        let mut answer = String::new();
        visitor.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "who is there?");
    }
    // The server stops listening when the client is gone.
    drop(control);
    super::support::until("the address is free", || TcpStream::connect(at).err());
}

#[test]
fn only_listed_addresses_are_listened_on() {
    let server = server();
    for (path, status) in [
        ("/.well-known/outflow/listen/0.0.0.0/0/", 403),
        ("/.well-known/outflow/listen/%5B::1%5D/0/", 403),
        ("/.well-known/outflow/listen/localhost/0/", 400),
        ("/.well-known/outflow/listen/127.0.0.1/", 400),
        ("/.well-known/outflow/accept/none/", 404),
    ] {
        let (refused, body) =
            ask(&server, path, &bearer()).err().unwrap_or_else(|| panic!("granted: {path}"));
        assert_eq!(refused, status, "{path}: {body}");
    }
    let path = "/.well-known/outflow/listen/127.0.0.1/0/";
    assert_eq!(ask(&server, path, "").err().unwrap().0, 401);
    let taken = format!("/.well-known/outflow/listen/127.0.0.1/{}/", server.addr.port());
    assert_eq!(ask(&server, &taken, &bearer()).err().unwrap().0, 409);
}
