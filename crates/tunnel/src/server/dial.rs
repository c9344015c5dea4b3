//! From a target to a connection: its addresses, those that may be reached, the first that answers.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::access::allow::{Allow, Host, Target};
use super::rejection::Refusal;

/// Addresses of a name that are tried.
const ADDRESSES: usize = 8;
/// An address that does not answer has so long before the next one is tried, as long as there is one.
const PATIENCE: Duration = Duration::from_secs(3);

/// Finds a name's addresses.
pub type Lookup = Arc<dyn Fn(String) -> Looking + Send + Sync>;

/// Addresses that are being found.
pub type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Asks the system.
#[must_use]
pub fn system() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Connects to `target`, which may be asked for. The addresses that its name leads to are looked at here, and the
/// connection goes to one that was: a name that changes its mind in between gains nothing.
pub(super) async fn dial(
    target: &Target,
    allow: &Allow,
    lookup: &Lookup,
    timeout: Duration,
) -> Result<(TcpStream, SocketAddr), Refusal> {
    let until = Instant::now() + timeout;
    let addresses = match &target.host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => match tokio::time::timeout_at(until, lookup(name.to_string())).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                let text = format!("{name} has no address: {error}");
                return Err(Refusal::new(StatusCode::BAD_GATEWAY, text).because("dns_error"));
            }
            Err(_) => {
                let text = format!("nobody says in time which address {name} has");
                return Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, text).because("dns_timeout"));
            }
        },
    };
    let any = addresses.len();
    let may: Vec<IpAddr> =
        addresses.into_iter().filter(|address| allow.may_reach(target, *address)).take(ADDRESSES).collect();
    if may.is_empty() && any > 0 {
        let text =
            format!("{target} leads to an address that is not allowed: list that as well if it is meant");
        return Err(Refusal::denied(text).because("destination_ip_prohibited"));
    }
    let mut last = Refusal::new(StatusCode::BAD_GATEWAY, format!("{target} has no address"));
    let count = may.len();
    for (at, address) in may.into_iter().enumerate() {
        let address = SocketAddr::new(address, target.port);
        let until = if at + 1 == count { until } else { until.min(Instant::now() + PATIENCE) };
        match tokio::time::timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A tunnel passes on what it has.
                let _ = stream.set_nodelay(true);
                return Ok((stream, address));
            }
            Ok(Err(error)) => last = refused(target, &error),
            Err(_) => {
                let text = format!("{target} does not answer");
                last = Refusal::new(StatusCode::GATEWAY_TIMEOUT, text).because("connection_timeout");
            }
        }
    }
    Err(last)
}

fn refused(target: &Target, error: &io::Error) -> Refusal {
    let (status, word) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (StatusCode::BAD_GATEWAY, "connection_refused"),
        io::ErrorKind::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "connection_timeout"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            (StatusCode::BAD_GATEWAY, "destination_ip_unroutable")
        }
        _ => (StatusCode::BAD_GATEWAY, "connection_terminated"),
    };
    Refusal::new(status, format!("{target} cannot be connected to: {error}")).because(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leading_to(addresses: &[&str]) -> Lookup {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(move |_| {
            let addresses = addresses.clone();
            Box::pin(async move { Ok(addresses) })
        })
    }

    #[tokio::test]
    async fn a_name_is_connected_to_at_the_address_that_was_looked_at() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target: Target = format!("far.test:{port}").parse().unwrap();
        let rules = [format!("far.test:{port}"), format!("127.0.0.1:{port}")];
        let (named, both) = (
            Allow::parse([rules[0].as_str()]).unwrap(),
            Allow::parse(rules.iter().map(|rule| &**rule)).unwrap(),
        );
        let timeout = Duration::from_secs(10);
        let lookup = leading_to(&["10.1.2.3", "127.0.0.1"]);
        let refusal = dial(&target, &named, &lookup, timeout).await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::FORBIDDEN);
        let (_stream, address) = dial(&target, &both, &lookup, timeout).await.unwrap();
        assert_eq!(address.ip().to_string(), "127.0.0.1");
        let gone = dial(&target, &both, &leading_to(&[]), timeout).await.unwrap_err();
        assert_eq!(gone.status, StatusCode::BAD_GATEWAY);
        drop(listener);
        let refused = dial(&target, &both, &lookup, timeout).await.unwrap_err();
        assert!(refused.text.contains("cannot be connected to"), "{}", refused.text);
    }

    #[tokio::test(start_paused = true)]
    async fn names_and_targets_that_hang_are_given_up() {
        let target: Target = "far.test:22".parse().unwrap();
        let allow = Allow::parse(["far.test:22"]).unwrap();
        let hanging: Lookup = Arc::new(|_| Box::pin(std::future::pending()));
        let refusal = dial(&target, &allow, &hanging, Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::GATEWAY_TIMEOUT);
        let failing: Lookup = Arc::new(|_| Box::pin(async { Err(io::Error::other("no such name")) }));
        let refusal = dial(&target, &allow, &failing, Duration::from_secs(10)).await.unwrap_err();
        assert!(refusal.text.contains("no such name"), "{}", refusal.text);
    }
}
