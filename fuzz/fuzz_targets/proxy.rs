//! Any bytes as a PROXY header: what is decided about them stays decided, however many bytes
//! follow, and what the parser accepts comes back from the writer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outflow_net::proxy_header::{ConnectionAddresses, MAX_HEADER_BYTES, ProxyHeader, ProxyVersion};
use outflow_net::proxy_header::{encode, parse};

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    for len in 0..=data.len() {
        match parse(&data[..len]) {
            Ok(None) => assert!(len < MAX_HEADER_BYTES, "a header without a bound"),
            decided => {
                if let Ok(Some(header)) = decided {
                    assert_eq!(header.len, len, "complete before its last byte, or after it");
                }
                assert_eq!(decided, whole, "what follows byte {len} changes it");
                break;
            }
        }
    }
    let Ok(Some(header)) = whole else { return };
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let written = encode(version, header.addresses);
        let again = parse(&[&written, data].concat());
        let Ok(Some(ProxyHeader { len, addresses })) = again else { panic!("{version:?}: {again:?}") };
        assert_eq!(len, written.len());
        assert_eq!(addresses.map(canonical), header.addresses.map(canonical));
        assert_eq!(encode(version, addresses), written);
    }
});

/// The writer writes both addresses in one family: an IPv4 address may become a mapped one.
fn canonical(addresses: ConnectionAddresses) -> ConnectionAddresses {
    let ConnectionAddresses { mut client, mut server } = addresses;
    client.set_ip(client.ip().to_canonical());
    server.set_ip(server.ip().to_canonical());
    ConnectionAddresses { client, server }
}
