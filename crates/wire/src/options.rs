//! A server's limits on its clients: times, sizes, numbers.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use outflow_metrics::MetricRegistry;

/// Limits of the engine, each on a client's memory or time.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// How long a request head may take from its first byte to its last.
    ///
    /// Bound: requests. 10 s
    pub head_timeout: Duration,
    /// How long a connection may stay open without a request under way.
    ///
    /// Bound: connections. 75 s
    pub keep_alive_timeout: Duration,
    /// How long a client may take no byte of a response, or send no byte of a request's body.
    ///
    /// Bound: connections. 60 s
    pub stall_timeout: Duration,
    /// The rate in bytes a second below which a client uses up its `stall_timeout`: each byte that
    /// it takes buys `1 / min_rate` seconds, up to `stall_timeout`. So a byte a minute does not
    /// keep a connection forever.
    ///
    /// Bound: connections. 256 bytes a second
    pub min_rate: u32,
    /// How long a delivery that the client's TCP has acknowledged waits for a sign of its program:
    /// an orderly close, or a next request. Then it is completed with
    /// [`outflow_content::Evidence::Acked`].
    ///
    /// Bound: connections. 2 s
    pub confirm_timeout: Duration,
    /// Maximum size of a request head in bytes: request line, header fields and the empty line.
    ///
    /// Bound: requests. 64 KiB
    pub max_head_bytes: usize,
    /// Whether the kernel may send bodies without copying them to this program: files from the page
    /// cache (`sendfile`), and bytes from elsewhere from the socket they arrive at (`splice`).
    /// Files leave by reference: one that is overwritten in place between the call and the packet
    /// arrives changed. Off, every byte is copied when it is read, which costs more CPU, and helps
    /// on file systems whose page cache is unreliable (some network and shared folders).
    pub sendfile: bool,
    /// Networks of proxies whose PROXY headers are trusted. A connection from one of them must
    /// begin with a header of version 1 or 2, which names the client; without one it is closed.
    /// From other peers no header is read.
    pub proxy_protocol: Vec<IpNet>,
    /// Whether HTTP/2 is accepted without TLS, too, from clients with prior knowledge (RFC 9113,
    /// section 3.3).
    pub http2_cleartext: bool,
    /// Maximum number of connections open at the same time. Further ones wait in the listener's
    /// backlog.
    ///
    /// Bound: connections. 10,000
    pub max_connections: usize,
    /// Where the engine counts ([`ServerCounters`](crate::ServerCounters)). Servers with the same
    /// registry are counted together.
    pub metrics: MetricRegistry,
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
        // A socket for both families gives IPv4 addresses within IPv6 ones.
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
            metrics: MetricRegistry::default(),
        }
    }
}
