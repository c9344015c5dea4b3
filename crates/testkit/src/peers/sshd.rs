//! OpenSSH's server, and clients that reach it through a command.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Daemon, assert_installed, output, program, with_ports};

/// A server that admits one key.
pub struct Sshd {
    daemon: Daemon,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Sshd {
    /// Starts one.
    #[track_caller]
    #[must_use]
    pub fn start() -> Sshd {
        // For its unprivileged process; the package's service would make it.
        let _ = fs::create_dir("/run/sshd");
        let (daemon, [addr]) = with_ports(|[addr]| {
            let own = TempDir::new().unwrap();
            for name in ["host", "user"] {
                let mut keygen = program("ssh-keygen");
                output(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(own.path().join(name)));
            }
            fs::copy(own.path().join("user.pub"), own.path().join("authorized")).unwrap();
            let folder = own.path().display();
            let config = format!(
                "ListenAddress {addr}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n\
                 PrintMotd no\nSubsystem sftp internal-sftp\n"
            );
            fs::write(own.path().join("config"), config).unwrap();
            assert_installed("sshd");
            // It executes itself again, and needs an absolute path.
            let mut command = Command::new("/usr/sbin/sshd");
            command.args(["-D", "-e", "-f"]).arg(own.path().join("config"));
            let mut daemon = Daemon::start(&command, own);
            daemon.ready(|log| {
                let listens =
                    log.contains(&format!("Server listening on {} port {}", addr.ip(), addr.port()));
                (listens && TcpStream::connect(addr).is_ok()).then_some(())
            })?;
            Ok(daemon)
        });
        Sshd { daemon, addr }
    }

    /// `ssh` or `scp` to it through a `ProxyCommand`.
    #[must_use]
    pub fn client(&self, name: &str, way: &str) -> Command {
        let mut client = self.client_with(name, Path::new("none"));
        client.args(["-o", &format!("ProxyCommand={way}")]);
        client
    }

    /// The same through what a configuration file says.
    #[must_use]
    pub fn client_with(&self, name: &str, config: &Path) -> Command {
        let own = self.daemon.own.path();
        let mut client = program(name);
        client.arg("-F").arg(config).args(["-o", &format!("Port={}", self.addr.port())]);
        client.arg("-i").arg(own.join("user"));
        for option in ["BatchMode=yes", "StrictHostKeyChecking=no", "LogLevel=ERROR", "IdentitiesOnly=yes"] {
            client.args(["-o", option]);
        }
        client.args(["-o", &format!("UserKnownHostsFile={}", own.join("known").display())]);
        client
    }

    /// A path on it, as `scp` writes it.
    #[must_use]
    pub fn there(&self, path: &Path) -> String {
        format!("127.0.0.1:{}", path.display())
    }
}
