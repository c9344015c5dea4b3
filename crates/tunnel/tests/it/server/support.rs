//! A server within the test's process.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use outflow_tunnel::server::AllowList;
use outflow_tunnel::server::{NotFoundService, TunnelService, TunnelSettings};
use outflow_tunnel::server::{Secret, User, Users};
use outflow_wire::{ListenSocket, Server, ServerHandle, ServerOptions};

pub(crate) use super::legs::*;

/// A server that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn with(settings: TunnelSettings) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Server::new(ServerOptions { http2_cleartext: true, ..ServerOptions::default() });
        let handle = server.handle();
        let thread = std::thread::spawn(move || {
            server
                .run([ListenSocket::from(listener)], 2, TunnelService::new(NotFoundService, settings))
                .unwrap();
        });
        Running { addr, handle, thread: Some(thread) }
    }

    /// Of one user, who may reach every port of this machine.
    pub(crate) fn start() -> Running {
        Running::with(settings(&["127.0.0.0/8:*"]))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

pub(crate) fn settings(allow: &[&str]) -> TunnelSettings {
    let user = |name: &str, token: &str| User {
        name: name.to_owned(),
        token: Secret(token.to_owned()),
        allow: None,
        listen: AllowList::default(),
        tunnels: None,
    };
    TunnelSettings {
        allow: AllowList::parse(allow.iter().copied()).unwrap(),
        users: Users::new(vec![user("anna", TOKEN), user("ben", "another token, ben's")]).unwrap(),
        ..TunnelSettings::default()
    }
}

/// Bytes without a pattern that a shift would leave alone.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[track_caller]
pub(crate) fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    if found != expected {
        let at = found.iter().zip(expected).position(|(a, b)| a != b);
        let at = at.unwrap_or(found.len().min(expected.len()));
        panic!("{what}: {} bytes instead of {}, different from byte {at} on", found.len(), expected.len());
    }
}

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(std::time::Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
