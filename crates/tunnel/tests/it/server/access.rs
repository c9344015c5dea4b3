//! Who gets where: the list of ways to try, walked.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outflow_tunnel::server::CapabilityKeys;
use outflow_tunnel::server::NameResolver;
use outflow_tunnel::server::TunnelSettings;

use super::support::{LegHead, LegProtocol, Running, TOKEN, TestLeg, TestTarget, settings};

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

/// Sends a request that has to be refused; returns the response.
#[track_caller]
fn refused(server: &Running, protocol: LegProtocol, request: &str) -> (LegHead, String) {
    TestLeg::ask(server.addr, protocol, request).err().unwrap_or_else(|| panic!("granted: {request}"))
}

#[test]
fn nobody_reaches_what_is_not_listed() {
    let inside = TestTarget::new();
    let port = inside.addr.port();
    // One port fewer than all, and no private address by name.
    let names = format!("inside.test:{port}");
    let resolver: NameResolver =
        Arc::new(|_| Box::pin(async { Ok(vec!["127.0.0.1".parse::<IpAddr>().unwrap()]) }));
    let public = format!("*:{port}");
    for allow in [&[][..], &["example.org:22"], &[&names], &[&public], &["10.0.0.0/8:*", "[fd00::/8]:*"]] {
        let server = Running::with(TunnelSettings { resolver: Arc::clone(&resolver), ..settings(allow) });
        for host in [
            "127.0.0.1",
            "127.0.0.2",
            "0.0.0.0",
            "%5B::1%5D",
            "%5B::%5D",
            "%5B::ffff:127.0.0.1%5D",
            "%5B::ffff:7f00:1%5D",
            "%5B64:ff9b::127.0.0.1%5D",
            "%5B2002:7f00:1::%5D",
            "localhost",
            "LOCALHOST.",
            "inside.test",
            "Inside.Test.",
            "127.1",
            "2130706433",
            "0x7f000001",
            "017700000001",
            "0x7f.0.0.1",
            "127.0.0.1.",
            "127.0.0.1%00.test",
            "127.0.0.1%23@example.org",
            "example.org%2F..%2F127.0.0.1",
            "%5B::1%25lo%5D",
            "169.254.169.254",
        ] {
            for protocol in [LegProtocol::Capsules, LegProtocol::WebSocket, LegProtocol::Purr] {
                let path = format!("/.well-known/masque/tcp/{host}/{port}/");
                let (head, body) = refused(&server, protocol, &protocol.request_at(&path, "", &bearer()));
                assert!(matches!(head.status, 400 | 403), "{host}: {head:?} {body}");
            }
        }
        for authority in ["127.0.0.1", "localhost", "[::1]", "inside.test", "[::ffff:127.0.0.1]"] {
            let request = LegProtocol::Connect.request_at("", &format!("{authority}:{port}"), &bearer());
            let (head, body) = refused(&server, LegProtocol::Connect, &request);
            assert!(matches!(head.status, 400 | 403), "{authority}: {head:?} {body}");
        }
    }
    assert!(inside.is_untouched(), "somebody was led inside");
}

#[test]
fn a_name_that_changes_its_address_leads_nowhere_else() {
    let inside = TestTarget::new();
    let name = format!("rebinding.test:{}", inside.addr.port());
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    // Resolves to a public address at first, then to a private one.
    let resolver: NameResolver = Arc::new(move |_| {
        let first = counting.fetch_add(1, Ordering::Relaxed) == 0;
        let address: IpAddr = if first { "192.0.2.1" } else { "127.0.0.1" }.parse().unwrap();
        Box::pin(async move { Ok(vec![address]) })
    });
    let server = Running::with(TunnelSettings {
        resolver,
        connect_timeout: Duration::from_millis(200),
        ..settings(&[&name, "192.0.2.1:*"])
    });
    for _ in 0..3 {
        let path = format!("/.well-known/masque/tcp/rebinding.test/{}/", inside.addr.port());
        let (head, _) =
            refused(&server, LegProtocol::Capsules, &LegProtocol::Capsules.request_at(&path, "", &bearer()));
        assert!(matches!(head.status, 403 | 502 | 504), "{head:?}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3, "asked more than once for one connection");
    assert!(inside.is_untouched(), "somebody was led inside");
}

#[test]
fn nobody_gets_anywhere_without_a_token() {
    let target = TestTarget::new();
    let server = Running::start();
    for protocol in LegProtocol::ALL {
        for lines in [
            "",
            "Authorization: Bearer 0123456789abcdef0124\r\n",
            "Authorization: Basic YTpi\r\n",
            "Cookie: token=0123456789abcdef0123\r\n",
        ] {
            let (head, body) = refused(&server, protocol, &protocol.request(target.addr, lines));
            let (status, field) = match protocol {
                LegProtocol::Connect => (407, "proxy-authenticate"),
                _ => (401, "www-authenticate"),
            };
            assert_eq!(head.status, status, "{protocol:?} {lines}");
            assert!(head.find(field).is_some() && body.contains("token"), "{head:?} {body}");
        }
    }
    assert!(target.is_untouched());
    // A client of a proxy sends Basic: any user name, with the token as the password.
    let basic = "Proxy-Authorization: Basic YW5uYTowMTIzNDU2Nzg5YWJjZGVmMDEyMw==\r\n";
    let request = LegProtocol::Connect.request(target.addr, basic);
    let (mut leg, head) = TestLeg::ask(server.addr, LegProtocol::Connect, &request).unwrap();
    assert_eq!((head.status, head.find("content-length")), (200, None));
    leg.end();
}

#[test]
fn where_everybody_may_pages_still_may_not() {
    let target = TestTarget::new();
    let server = Running::with(TunnelSettings {
        open: true,
        origins: vec!["https://good.test".to_owned()],
        ..settings(&["127.0.0.0/8:*"])
    });
    for (origin, may) in [("https://good.test", true), ("https://evil.test", false), ("null", false)] {
        let request = LegProtocol::WebSocket.request(target.addr, &format!("Origin: {origin}\r\n"));
        let asked = TestLeg::ask(server.addr, LegProtocol::WebSocket, &request);
        match asked {
            Ok(_) => assert!(may, "{origin}"),
            Err((head, _)) => assert!(!may && head.status == 403, "{origin}: {head:?}"),
        }
    }
    assert!(
        TestLeg::ask(server.addr, LegProtocol::WebSocket, &LegProtocol::WebSocket.request(target.addr, ""))
            .is_ok()
    );
}

#[test]
fn a_capability_is_for_one_target_and_one_tunnel() {
    let folder = tempfile::TempDir::new().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
    let (target, other) = (TestTarget::new(), TestTarget::new());
    let allow = format!("127.0.0.1:{}", target.addr.port());
    let server = Running::with(TunnelSettings {
        keys: Some(CapabilityKeys::open(&key).unwrap()),
        ..settings(&[&allow])
    });
    let sign = |addr: SocketAddr, seconds, many| {
        CapabilityKeys::sign(&key, &addr.to_string().parse().unwrap(), Duration::from_secs(seconds), many)
            .unwrap()
    };
    let ask = |path: &str| {
        TestLeg::ask(server.addr, LegProtocol::Capsules, &LegProtocol::Capsules.request_at(path, "", ""))
            .map_err(|(head, body)| (head.status, body))
    };
    let once = sign(target.addr, 60, false);
    let (mut leg, _) = ask(&once).unwrap();
    leg.send(b"hello").unwrap();
    leg.end();
    let mut heard = String::new();
    target.accept().read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
    for (path, why) in [
        (once.clone(), "has been used"),
        (once.replace(".", ".A"), "was not issued by this server"),
        (once[..once.len() - 3].to_owned(), "was not issued by this server"),
        (format!("{once}/"), "was not issued by this server"),
        // Signed, but not on the list.
        (sign(other.addr, 60, false), "not among the targets"),
        (sign(target.addr, 0, false), "has expired"),
    ] {
        let (status, body) = ask(&path).err().unwrap_or_else(|| panic!("granted: {path}"));
        assert!(status == 403 && body.contains(why), "{path}: {status} {body}");
    }
    assert!(target.is_untouched() && other.is_untouched());
    let many = sign(target.addr, 60, true);
    for _ in 0..3 {
        let (_leg, _) = ask(&many).unwrap();
        target.accept();
    }
    // A capability is not a token for other requests.
    let token = once.strip_prefix("/tunnel/c/").unwrap();
    let request = LegProtocol::Capsules.request(target.addr, &format!("Authorization: Bearer {token}\r\n"));
    assert_eq!(refused(&server, LegProtocol::Capsules, &request).0.status, 401);
}

#[test]
fn targets_that_do_not_answer_have_statuses_and_words_of_their_own() {
    let gone = TestTarget::new().addr;
    // A target that accepts no connection: once its queue is full, the kernel does not answer.
    let hanging = full_target();
    let failing: NameResolver = Arc::new(|_| Box::pin(async { Err(std::io::Error::other("no such name")) }));
    let server = Running::with(TunnelSettings {
        resolver: failing,
        connect_timeout: Duration::from_millis(300),
        ..settings(&["127.0.0.0/8:*", "192.0.2.1:*", "*.test:*"])
    });
    for (host, port, status, word) in [
        ("127.0.0.1", gone.port(), 502, "connection_refused"),
        ("nowhere.test", 22, 502, "dns_error"),
        ("127.0.0.1", hanging.1.port(), 504, "connection_timeout"),
        ("example.org", 22, 403, "http_request_denied"),
    ] {
        let path = format!("/.well-known/masque/tcp/{host}/{port}/");
        let (head, body) =
            refused(&server, LegProtocol::Capsules, &LegProtocol::Capsules.request_at(&path, "", &bearer()));
        assert_eq!(head.status, status, "{body}");
        let said = head.find("proxy-status").unwrap_or_default();
        assert!(said.starts_with("outflow; error=") && said.ends_with(word), "{said}");
    }
}

/// A listening socket whose queue is full, with the clients in it.
fn full_target() -> (Vec<rustix::fd::OwnedFd>, SocketAddr) {
    use rustix::net::{
        AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with,
    };
    let open = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap()
    };
    let listener = open();
    bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&listener, 0).unwrap();
    let addr = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    let mut held = vec![listener];
    for _ in 0..4 {
        let waiting = open();
        let _ = connect(&waiting, &addr);
        held.push(waiting);
    }
    (held, addr)
}
