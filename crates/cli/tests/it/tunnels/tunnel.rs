//! A tunnel server for the tests, and its clients.

use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::legs::TOKEN;
use crate::support::{Server, binary};

/// `outflow tunnel serve` for one user, anna, and what her clients need.
pub(super) struct Tunnel {
    pub(super) server: Server,
    /// The file of her token.
    pub(super) token: PathBuf,
    _own: TempDir,
}

impl Tunnel {
    pub(super) fn start(arguments: &[&str]) -> Tunnel {
        let own = TempDir::new().unwrap();
        let users = own.path().join("users.toml");
        fs::write(&users, format!("[[user]]\nname = \"anna\"\ntoken = \"{TOKEN}\"\n")).unwrap();
        let token = own.path().join("token");
        fs::write(&token, TOKEN).unwrap();
        let mut command = binary();
        command.args(["tunnel", "serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--users"]);
        command.arg(users).args(arguments);
        Tunnel { server: Server::spawn(command, TempDir::new().unwrap()), token, _own: own }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.server.addr)
    }

    /// `outflow tunnel VERB`, with the token.
    pub(super) fn client(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = client(verb, arguments);
        command.arg("--token-file").arg(&self.token);
        command
    }

    /// ssh's `ProxyCommand`, with the server at `addr`.
    pub(super) fn way(&self, addr: SocketAddr) -> String {
        let (binary, token) = (env!("CARGO_BIN_EXE_outflow"), self.token.display());
        format!("{binary} tunnel connect --token-file {token} http://{addr} %h %p")
    }
}

/// `outflow tunnel VERB` in an environment without proxies.
pub(super) fn client(verb: &str, arguments: &[&str]) -> Command {
    let mut command = binary();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.args(["tunnel", verb]).args(arguments);
    command
}

impl Deref for Tunnel {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
