//! `HAProxy` between a client and a server.

use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpStream};

use tempfile::TempDir;

use crate::http::HttpClient;
use crate::process::{Daemon, program, with_ports};

/// `HAProxy` in front of a server, with a port for each way to name the client.
pub struct Haproxy {
    _daemon: Daemon,
    /// TCP, version 1 of the PROXY protocol.
    pub v1: SocketAddr,
    /// Version 2.
    pub v2: SocketAddr,
    /// HTTP, with `X-Forwarded-For`.
    pub http: SocketAddr,
}

impl Haproxy {
    /// In front of `plain`, and of `introduced`, which expects PROXY headers.
    #[must_use]
    #[track_caller]
    pub fn start(plain: SocketAddr, introduced: SocketAddr) -> Haproxy {
        let (daemon, [v1, v2, http, _]) = with_ports(|[v1, v2, http, name]| {
            let own = TempDir::new().unwrap();
            // The process that answers with this name holds all four ports.
            let own_name = own.path().file_name().and_then(OsStr::to_str).unwrap().to_owned();
            let config = format!(
                "global\n    maxconn 200\ndefaults\n    timeout connect 10s\n    timeout client 120s\n    \
                 timeout server 120s\n\
                 listen v1\n    mode tcp\n    bind {v1}\n    server s {introduced} send-proxy\n\
                 listen v2\n    mode tcp\n    bind {v2}\n    server s {introduced} send-proxy-v2\n\
                 listen http\n    mode http\n    bind {http}\n    option forwardfor\n    server s {plain}\n\
                 frontend name\n    mode http\n    bind {name}\n    \
                 http-request return status 200 content-type text/plain string {own_name}\n"
            );
            fs::write(own.path().join("haproxy.cfg"), config).unwrap();
            let mut command = program("haproxy");
            command.args(["-db", "-f", "haproxy.cfg"]);
            let mut daemon = Daemon::start(&command, own);
            daemon.ready(|_| {
                TcpStream::connect(name).ok()?;
                let reply = HttpClient::connect(name).get("/");
                (reply.status == 200 && reply.text() == own_name).then_some(())
            })?;
            Ok(daemon)
        });
        Haproxy { _daemon: daemon, v1, v2, http }
    }
}
