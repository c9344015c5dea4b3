//! What a server allows its clients: times, sizes, numbers.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

/// Limits of the engine. Every one bounds either a client's claim on memory or its claim on time.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// How long a request head may take from its first byte to its last.
    pub head_timeout: Duration,
    /// How long a connection may stay open without a request under way.
    pub keep_alive_timeout: Duration,
    /// How long a client may take no byte of a response, or send no byte of a request's body.
    pub stall_timeout: Duration,
    /// The rate in bytes a second below which a client uses up its `stall_timeout`: each byte that it
    /// takes buys `1 / min_rate` seconds, up to `stall_timeout`. So a byte a minute does not live for ever.
    pub min_rate: u32,
    /// How long a delivery that the client's TCP has acknowledged waits for a sign from its program: an orderly
    /// close, or a next request. Then it is completed with [`outflow_content::Evidence::Acked`].
    pub confirm_timeout: Duration,
    /// Largest request head in bytes: request line, header fields and the empty line.
    pub max_head_bytes: usize,
    /// Whether bodies may be sent by the kernel, without passing through this program: files from the page
    /// cache (`sendfile`), and what comes from elsewhere from the socket it arrives at (`splice`). Files leave by
    /// reference: one that is overwritten in place between the call and the packet arrives changed. Off, every byte
    /// is copied when it is read, which costs more CPU, and helps on file systems whose page cache is
    /// not to be trusted (some network and shared folders).
    pub sendfile: bool,
    /// Who is a proxy: connections from these networks must begin with a PROXY header of version 1 or 2, which says
    /// whose they are; without one they are closed. From others none is read.
    pub proxy_protocol: Vec<IpNet>,
    /// Whether HTTP/2 is understood without TLS as well, from clients that know (RFC 9113, section 3.3).
    pub http2_cleartext: bool,
    /// Connections open at the same time. Further ones wait in the listener's backlog.
    pub max_connections: usize,
}

impl ServerOptions {
    /// The time that progress of `bytes` buys a client, by [`ServerOptions::min_rate`].
    pub(crate) fn time_for(&self, bytes: u64) -> Duration {
        let seconds = bytes as f64 / f64::from(self.min_rate.max(1));
        // At most a year: more seconds would not fit a Duration.
        Duration::from_secs_f64(seconds.min(31_536_000.0))
    }

    /// Whether a connection from `peer` has to begin with a PROXY header.
    pub(crate) fn is_proxy(&self, peer: IpAddr) -> bool {
        // What comes to a socket for both families has its IPv4 address within an IPv6 one.
        let peer = peer.to_canonical();
        self.proxy_protocol.iter().any(|network| network.contains(&peer))
    }
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            head_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(60),
            min_rate: 256,
            confirm_timeout: Duration::from_secs(2),
            max_head_bytes: 64 * 1024,
            sendfile: true,
            proxy_protocol: Vec::new(),
            http2_cleartext: false,
            max_connections: 10_000,
        }
    }
}
