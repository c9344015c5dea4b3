//! Coming back to a tunnel: who may, from where, for how long.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use outflow_tunnel::server::TunnelSettings;

use super::support::{LegProtocol, Running, TOKEN, TestLeg, TestTarget, settings, until};

const BEN: &str = "Authorization: Bearer another token, ben's\r\n";

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

/// Requests a tunnel with `Outflow-Resume`; returns the leg and the field of the response, or the
/// status.
fn ask(server: &Running, target: &TestTarget, who: &str, resume: &str) -> Result<(TestLeg, String), u16> {
    let lines = format!("{who}Outflow-Resume: {resume}\r\n");
    let request = LegProtocol::Capsules.request(target.addr, &lines);
    let asked = TestLeg::ask(server.addr, LegProtocol::Capsules, &request);
    asked
        .map(|(leg, head)| (leg, head.find("outflow-resume").unwrap_or_default().to_owned()))
        .map_err(|(head, _)| head.status)
}

#[test]
fn a_tunnel_goes_on_for_whom_it_belongs_to() {
    let server = Running::start();
    let target = TestTarget::new();
    let (mut leg, said) = ask(&server, &target, &bearer(), "new").unwrap();
    let (id, rest) = said.split_once("; ").unwrap();
    assert_eq!(rest, "window=1048576; for=60");
    let mut far = target.accept();
    leg.send(b"hello").unwrap();
    let mut heard = [0; 5];
    far.read_exact(&mut heard).unwrap();
    far.write_all(b"world").unwrap();
    assert_eq!(leg.read_exact(5).unwrap(), b"world");
    drop(leg);
    // The client loses its leg.
    far.write_all(b" and more").unwrap();
    let again = |received: u64| format!("{id}; received={received}");
    for (who, resume, status) in [
        (bearer(), "AAAAAAAAAAAAAAAAAAAAAA; received=5".to_owned(), 404),
        (BEN.to_owned(), again(5), 403),
        (bearer(), again(1_000), 409),
        (bearer(), id.to_owned(), 400),
        (bearer(), "old".to_owned(), 400),
        (bearer(), format!("{id}; received=-1"), 400),
    ] {
        assert_eq!(ask(&server, &target, &who, &resume).err(), Some(status), "{resume}");
    }
    // The client has not received everything, and is sent the rest.
    let (mut leg, said) = ask(&server, &target, &bearer(), &again(3)).unwrap();
    assert_eq!(said, format!("{id}; received=5"));
    assert_eq!(leg.read_exact(11).unwrap(), b"ld and more");
    // The bytes that it has acknowledged by this are no longer kept.
    drop(leg);
    assert_eq!(ask(&server, &target, &bearer(), &again(2)).err(), Some(409));
    let (mut leg, _) = ask(&server, &target, &bearer(), &again(14)).unwrap();
    leg.send(b"!").unwrap();
    leg.end();
    let mut rest = String::new();
    far.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "!");
    drop(far);
    assert_eq!(leg.read_to_end().unwrap(), b"");
    assert!(target.is_untouched(), "the target was connected to again");
}

#[test]
fn a_client_that_does_not_come_back_is_not_waited_for_for_ever() {
    let target = TestTarget::new();
    let resume = Some(Duration::from_millis(200));
    let server = Running::with(TunnelSettings { resume, ..settings(&["127.0.0.0/8:*"]) });
    let (leg, said) = ask(&server, &target, &bearer(), "new").unwrap();
    let mut far = target.accept();
    drop(leg);
    far.read(&mut [0]).expect_err("what was cut looked whole");
    let id = said.split_once("; ").unwrap().0;
    until("it is gone", || {
        ask(&server, &target, &bearer(), &format!("{id}; received=0")).err().filter(|s| *s == 404)
    });
}

#[test]
fn where_nobody_may_come_back_the_tunnel_is_a_plain_one() {
    let target = TestTarget::new();
    let server = Running::with(TunnelSettings { resume: None, ..settings(&["127.0.0.0/8:*"]) });
    let (leg, said) = ask(&server, &target, &bearer(), "new").unwrap();
    assert_eq!(said, "");
    let mut far = target.accept();
    drop(leg);
    far.read(&mut [0]).expect_err("what was cut looked whole");
}
