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

use super::certificates::trusting;
use super::{Authority, Program, output, program, until};

/// Where one will be, and by whom it is vouched for.
pub(crate) struct Place {
    /// Bound and not listening: nobody else is given the port, and Pebble may still have it.
    sockets: [(OwnedFd, u16); 2],
    pub(crate) authority: Authority,
}

/// A running one, which forgets everything when it ends.
pub(crate) struct Pebble {
    child: Child,
    management: String,
    root: std::path::PathBuf,
    _folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { sockets: [reserve(), reserve()], authority: Authority::new() }
    }

    /// The URL of its directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.sockets[0].1)
    }

    /// Starts it. It looks for proofs at that port.
    pub(crate) fn start(&self, proofs: u16, env: &[(&str, &str)]) -> Pebble {
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
        until("Pebble answers", || Program::start(&mut pebble.ask()).finish().status.success().then_some(()));
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

    /// A client that believes in its certificates.
    pub(crate) fn trusted(&self) -> Arc<ClientConfig> {
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
