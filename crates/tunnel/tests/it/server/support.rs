//! A server within the test's process.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use outflow_tunnel::server::AllowList;
use outflow_tunnel::server::{NotFoundService, TunnelService, TunnelSettings};
use outflow_tunnel::server::{Secret, User, Users};
use outflow_wire::{ListenSocket, Server, ServerHandle, ServerOptions};

pub(crate) use outflow_testkit::tunnel::*;
pub(crate) use outflow_testkit::{assert_same, noise, until};

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

    /// A server with users who may reach every port of this machine.
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
