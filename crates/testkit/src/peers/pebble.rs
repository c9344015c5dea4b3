//! Pebble, the certificate authority that Let's Encrypt tests ACME clients with.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;

use crate::process::{ChildProgram, output, program};
use crate::tls::{Authority, trusting};
use crate::until;

/// The address and authority of a Pebble that may not have started yet.
pub struct PebbleSite {
    /// Bound and not listening: the kernel gives the port to no other process, and Pebble can still
    /// take it.
    sockets: [(OwnedFd, u16); 2],
    /// Certifies its API.
    pub authority: Authority,
}

/// A running Pebble, which keeps nothing when it ends.
pub struct Pebble {
    child: Child,
    management: String,
    root: std::path::PathBuf,
    _folder: TempDir,
}

impl Default for PebbleSite {
    fn default() -> PebbleSite {
        PebbleSite::new()
    }
}

impl PebbleSite {
    /// Reserves two ports.
    #[must_use]
    pub fn new() -> PebbleSite {
        PebbleSite { sockets: [reserve(), reserve()], authority: Authority::new() }
    }

    /// The URL of its directory.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.sockets[0].1)
    }

    /// Starts it. It expects proofs at the port `proofs`.
    #[must_use]
    pub fn start(&self, proofs: u16, env: &[(&str, &str)]) -> Pebble {
        let folder = TempDir::new().unwrap();
        let (certificate, key) = self.authority.files("pebble", &["127.0.0.1"]);
        let [directory, management] = [0, 1].map(|at| format!("127.0.0.1:{}", self.sockets[at].1));
        let config = serde_json::json!({ "pebble": {
            "listenAddress": directory, "managementListenAddress": management, "certificate": certificate,
            "privateKey": key, "httpPort": 1, "tlsPort": proofs, "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        let file = folder.path().join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = program("pebble");
        command.args(["-strict", "-config"]).arg(file).current_dir(folder.path());
        command.env("PEBBLE_VA_NOSLEEP", "1").envs(env.iter().copied());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let root = self.authority.root();
        let pebble = Pebble { child, management, root, _folder: folder };
        until("Pebble answers", || {
            ChildProgram::start(&mut pebble.ask()).finish().status.success().then_some(())
        });
        pebble
    }
}

impl Pebble {
    fn ask(&self) -> std::process::Command {
        let mut curl = program("curl");
        curl.args(["--disable", "-sSf", "--noproxy", "*", "--cacert"]).arg(&self.root);
        curl.arg(format!("https://{}/roots/0", self.management));
        curl
    }

    /// A client that trusts the certificates it issues.
    #[must_use]
    pub fn trusted(&self) -> Arc<ClientConfig> {
        trusting(&CertificateDer::from_pem_slice(output(&mut self.ask()).as_bytes()).unwrap())
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reserve() -> (OwnedFd, u16) {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap().port();
    (socket, port)
}
