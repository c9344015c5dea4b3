//! OpenSSH's server, for one test, and clients that get to it by a command.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::daemon::{Daemon, with_ports};
use super::{output, program};

/// One that lets in whoever has its key.
pub(crate) struct Sshd {
    daemon: Daemon,
    pub(crate) addr: SocketAddr,
}

impl Sshd {
    #[track_caller]
    pub(crate) fn start() -> Sshd {
        // For its unprivileged half; the package's service would make it.
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
            // It starts itself again, and wants to know by which path.
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

    /// `ssh` or `scp` to it, by way of a command.
    pub(crate) fn client(&self, name: &str, way: &str) -> Command {
        let mut client = self.client_with(name, Path::new("none"));
        client.args(["-o", &format!("ProxyCommand={way}")]);
        client
    }

    /// The same, by what a file of configuration says.
    pub(crate) fn client_with(&self, name: &str, config: &Path) -> Command {
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

    /// A path there, as `scp` is told of it.
    pub(crate) fn there(&self, path: &Path) -> String {
        format!("127.0.0.1:{}", path.display())
    }
}
