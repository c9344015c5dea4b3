//! HTTP/1 within TLS: the same bytes, the same ends, and handshakes that hold nobody up.

use outflow_wire::rustls::ProtocolVersion;
use outflow_wire::rustls::version::{TLS12, TLS13};
use outflow_wire::{Options, Secure, TlsOptions};

use crate::support::*;

/// A file's bytes within both versions, over connections that are kept, with a run from the middle.
#[test]
fn files_arrive_equal_within_both_versions() {
    let bytes = pattern(3_000_001, 1);
    let (_folder, path) = temp("film", &bytes);
    let file = TestFile::open(&path);
    let identity = Identity::new();
    let tls = identity.tls(&TlsOptions::default());
    let server = serve_tls(Options::default(), tls, move |request| {
        assert!(request.extensions().get::<Secure>().is_some());
        let response = respond(file.content(), request.method(), request.headers());
        async move { Ok(response) }
    });
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let config = identity.client(&[version], &[b"http/1.1"]);
        let mut client = Client::connect(server.addr).secure(&config).expect("a handshake");
        assert_eq!(client.tls().protocol_version(), Some(name));
        assert_eq!(client.tls().alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(client.get("/", "").reply().body == bytes, "other bytes within {name:?}");
        let part = client.get("/", "Range: bytes=100000-2345678\r\n").reply();
        assert_eq!(part.status, 206);
        assert!(part.body == bytes[100_000..2_345_679], "other bytes of the range within {name:?}");
        assert!(client.get("/", "Connection: close\r\n").reply().body == bytes);
        assert_eq!(client.read_to_end().expect("an end that is announced"), b"");
    }
    assert_eq!(server.counted().sendfile_bytes(), 0);
}
