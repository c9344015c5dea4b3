//! The address to listen on, and its socket.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::str::FromStr;

use clap::Args;
use outflow_texts::{ConsoleText, console, text};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// Connections that the kernel queues until they are accepted; it lowers the number to
/// `net.core.somaxconn`.
///
/// Bound: connections.
const BACKLOG: i32 = 4096;

/// The address of a serving command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Listening")]
pub(crate) struct ListenArgs {
    /// Address to listen on, HOST:PORT; port 0 picks a free one
    #[arg(long, value_name = "ADDR", env, default_value = "127.0.0.1:8080")]
    pub(crate) listen: ListenAddress,
}

/// `host:port`; the host may be a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenAddress(String);

/// The flags by which a command's address is chosen, for messages.
pub(crate) struct AddressFlags {
    pub(crate) host: &'static str,
    pub(crate) port: &'static str,
}

/// `--listen HOST:PORT`.
pub(crate) const LISTEN: AddressFlags = AddressFlags { host: "--listen", port: "--listen" };

impl FromStr for ListenAddress {
    type Err = ConsoleText;

    fn from_str(text: &str) -> Result<ListenAddress, ConsoleText> {
        if let Some((_, rest)) = text.split_once("://") {
            return Err(console!(address_with_scheme, address = rest.trim_end_matches('/')));
        }
        if let Some(port) = text.strip_prefix("*:") {
            return Err(console!(address_of_every_network, port));
        }
        match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            Some((host, Ok(_))) if !host.is_empty() => Ok(ListenAddress(text.to_owned())),
            Some(("", Ok(port))) => Err(console!(address_without_host, port = %port)),
            _ if text.parse::<u16>().is_ok() => Err(console!(address_is_port, port = text)),
            _ => Err(console!(address_wrong)),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ListenAddress {
    /// From a host, which may be an IPv6 address with or without brackets, and a port.
    pub(crate) fn of(host: &str, port: u16) -> ListenAddress {
        if host.contains(':') && !host.starts_with('[') {
            ListenAddress(format!("[{host}]:{port}"))
        } else {
            ListenAddress(format!("{host}:{port}"))
        }
    }

    /// Opens the listening socket.
    pub(crate) fn open(&self, flags: &AddressFlags) -> anyhow::Result<TcpListener> {
        let AddressFlags { host, port } = flags;
        let advice = |error: io::Error| {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => text!(advice_port_in_use, flag = *port),
                io::ErrorKind::PermissionDenied => text!(advice_port_denied, flag = *port),
                io::ErrorKind::AddrNotAvailable => text!(advice_no_such_address, flag = *host),
                _ => text!(advice_other_address, flag = *host),
            };
            anyhow::anyhow!(console!(cannot_listen, address = %self, %error, advice))
        };
        let addresses = self.0.to_socket_addrs().map_err(advice)?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match open(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = error,
            }
        }
        Err(advice(last))
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Without it a restart waits until the last connections have left TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for (text, is_one) in [
            ("127.0.0.1:8080", true),
            ("[::1]:0", true),
            ("localhost:80", true),
            ("8080", false),
            (":8080", false),
            ("localhost", false),
            ("localhost:http", false),
            ("1.2.3.4:65536", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<ListenAddress>().is_ok(), is_one, "{text}");
        }
    }

    #[test]
    fn hosts_may_be_names_and_ipv6_addresses() {
        for (host, text) in [
            ("127.0.0.1", "127.0.0.1:5000"),
            ("localhost", "localhost:5000"),
            ("::1", "[::1]:5000"),
            ("[::]", "[::]:5000"),
        ] {
            assert_eq!(ListenAddress::of(host, 5000).to_string(), text);
        }
    }

    #[test]
    fn a_busy_port_says_what_to_do() {
        let listener = ListenAddress("127.0.0.1:0".to_owned()).open(&LISTEN).unwrap();
        let busy = ListenAddress(listener.local_addr().unwrap().to_string()).open(&LISTEN).unwrap_err();
        assert!(busy.to_string().contains("--listen"), "{busy}");
    }
}
