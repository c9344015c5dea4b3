//! What can be listened on and connected to.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::net::{TcpStream, UnixStream};

use crate::flow::Socket;

/// The longest path of a Unix socket (unix(7): 108 bytes with the zero at its end).
const PATH_BYTES: usize = 107;

/// `host:port`, whose host may be a name, or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Looked up each time that it is connected to, so that names may move.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Neither kind.
    #[error("an address is host:port, such as 127.0.0.1:8080 or [::1]:80, or unix:/path")]
    Malformed,
    /// A path that the kernel cannot take.
    #[error("the path of a Unix socket has 1 to {PATH_BYTES} bytes")]
    Path,
    /// Nobody can be connected to there.
    #[error("a target has a port from 1 to 65535")]
    Port,
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Address, BadAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = (1..=PATH_BYTES).contains(&path.len()) && !path.contains('\0');
            return if fits { Ok(Address::Unix(path.into())) } else { Err(BadAddress::Path) };
        }
        let (host, port) = text.rsplit_once(':').ok_or(BadAddress::Malformed)?;
        // Without brackets nobody can tell where an IPv6 address ends.
        let bare = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        match port.parse::<u16>() {
            Ok(_) if !host.is_empty() && !bare => Ok(Address::Tcp(text.to_owned())),
            _ => Err(BadAddress::Malformed),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => f.write_str(address),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// The same, if somebody can be connected to there.
    ///
    /// # Errors
    /// For port 0, which only listeners can have.
    pub fn for_target(self) -> Result<Address, BadAddress> {
        match &self {
            Address::Tcp(text)
                if text.rsplit_once(':').is_some_and(|(_, port)| port.parse() == Ok(0_u16)) =>
            {
                Err(BadAddress::Port)
            }
            _ => Ok(self),
        }
    }

    /// Connects to the first of its addresses that accepts.
    pub(crate) async fn connect(&self) -> io::Result<Socket> {
        Ok(match self {
            Address::Tcp(address) => TcpStream::connect(address).await?.into(),
            Address::Unix(path) => UnixStream::connect(path).await?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_they_say() {
        for text in
            ["127.0.0.1:80", "[::1]:443", "localhost:1", "db.internal:5432", "unix:/run/x.sock", "unix:x"]
        {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "80", ":80", "localhost", "::1:80", "1.2.3.4:65536", "a:http", "[::1]"] {
            assert_eq!(text.parse::<Address>(), Err(BadAddress::Malformed), "{text}");
        }
        for text in ["unix:".to_owned(), format!("unix:/{}", "x".repeat(PATH_BYTES))] {
            assert_eq!(text.parse::<Address>(), Err(BadAddress::Path), "{text}");
        }
    }

    #[test]
    fn nobody_is_at_port_0() {
        assert_eq!("a:00".parse::<Address>().and_then(Address::for_target), Err(BadAddress::Port));
        assert!("a:10".parse::<Address>().and_then(Address::for_target).is_ok());
    }
}
