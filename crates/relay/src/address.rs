//! What a relay can listen on and connect to.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpStream, UnixStream};

use crate::flow::FlowSocket;

/// Length of the longest path of a Unix socket: 108 bytes with the terminating zero (unix(7)).
const MAX_PATH_BYTES: usize = 107;

/// `host:port`, where the host may be a name, or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayAddress {
    /// A name is resolved for each connection, so that it may move.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayAddressError {
    /// Neither form.
    #[error("an address is host:port, such as 127.0.0.1:8080 or [::1]:80, or unix:/path")]
    Malformed,
    /// A path that the kernel does not take.
    #[error("the path of a Unix socket has 1 to {MAX_PATH_BYTES} bytes")]
    Path,
    /// Port 0 cannot be connected to.
    #[error("a target has a port from 1 to 65535")]
    Port,
}

/// Why a target could not be connected to.
pub(crate) enum TargetConnectError {
    /// The target or the network failed.
    Target(String),
    /// This machine has run out of descriptors or memory; the target may be well.
    Local(io::Error),
}

impl FromStr for RelayAddress {
    type Err = RelayAddressError;

    fn from_str(text: &str) -> Result<RelayAddress, RelayAddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = (1..=MAX_PATH_BYTES).contains(&path.len()) && !path.contains('\0');
            return if fits { Ok(RelayAddress::Unix(path.into())) } else { Err(RelayAddressError::Path) };
        }
        let (host, port) = text.rsplit_once(':').ok_or(RelayAddressError::Malformed)?;
        // Without brackets it is unknown where an IPv6 address ends.
        let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        match port.parse::<u16>() {
            Ok(_) if !host.is_empty() && !is_bare_v6 => Ok(RelayAddress::Tcp(text.to_owned())),
            _ => Err(RelayAddressError::Malformed),
        }
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RelayAddress::Tcp(address) => f.write_str(address),
            RelayAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl RelayAddress {
    /// The same address, if it can be connected to.
    ///
    /// # Errors
    /// For port 0, which only a listener can have.
    pub fn for_target(self) -> Result<RelayAddress, RelayAddressError> {
        match &self {
            RelayAddress::Tcp(text)
                if text.rsplit_once(':').is_some_and(|(_, port)| port.parse() == Ok(0_u16)) =>
            {
                Err(RelayAddressError::Port)
            }
            _ => Ok(self),
        }
    }

    /// Connects within `timeout`.
    pub(crate) async fn connect_within(&self, timeout: Duration) -> Result<FlowSocket, TargetConnectError> {
        match tokio::time::timeout(timeout, self.connect()).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(error)) if is_local(&error) => Err(TargetConnectError::Local(error)),
            Ok(Err(error)) => Err(TargetConnectError::Target(error.to_string())),
            Err(_) => {
                Err(TargetConnectError::Target(format!("no answer within {} s", timeout.as_secs_f32())))
            }
        }
    }

    /// Connects to the first address of the name that accepts.
    async fn connect(&self) -> io::Result<FlowSocket> {
        Ok(match self {
            RelayAddress::Tcp(address) => TcpStream::connect(address).await?.into(),
            RelayAddress::Unix(path) => UnixStream::connect(path).await?.into(),
        })
    }
}

/// Whether this machine lacks descriptors or memory.
fn is_local(error: &io::Error) -> bool {
    let local = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| local.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_they_say() {
        for text in
            ["127.0.0.1:80", "[::1]:443", "localhost:1", "db.internal:5432", "unix:/run/x.sock", "unix:x"]
        {
            assert_eq!(text.parse::<RelayAddress>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "80", ":80", "localhost", "::1:80", "1.2.3.4:65536", "a:http", "[::1]"] {
            assert_eq!(text.parse::<RelayAddress>(), Err(RelayAddressError::Malformed), "{text}");
        }
        for text in ["unix:".to_owned(), format!("unix:/{}", "x".repeat(MAX_PATH_BYTES))] {
            assert_eq!(text.parse::<RelayAddress>(), Err(RelayAddressError::Path), "{text}");
        }
    }

    #[test]
    fn nobody_is_at_port_0() {
        assert_eq!(
            "a:00".parse::<RelayAddress>().and_then(RelayAddress::for_target),
            Err(RelayAddressError::Port)
        );
        assert!("a:10".parse::<RelayAddress>().and_then(RelayAddress::for_target).is_ok());
    }
}
