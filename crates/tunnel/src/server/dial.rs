//! From a target to a connection: resolves its name, filters the addresses, connects to the first
//! that accepts.

use outflow_texts::text;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::access::allow::{AllowList, Host, TunnelTarget};
use super::rejection::Rejection;

/// Addresses of one name that are tried.
///
/// Bound: tunnels.
const MAX_ADDRESSES: usize = 8;
/// How long an address may take to accept before the next one is tried. The last address has the
/// rest of the time.
///
/// Bound: tunnels.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(3);

/// Resolves a name to addresses.
pub type NameResolver = Arc<dyn Fn(String) -> NameResolution + Send + Sync>;

/// A resolution in progress.
pub type NameResolution = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// The resolver of the operating system.
#[must_use]
pub fn system_resolver() -> NameResolver {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Connects to `target`, which the caller has checked by name. Connects only to addresses that were
/// resolved and checked here, so that DNS cannot change its answer in between (DNS rebinding).
pub(super) async fn dial(
    target: &TunnelTarget,
    allow: &AllowList,
    resolver: &NameResolver,
    timeout: Duration,
) -> Result<(TcpStream, SocketAddr), Rejection> {
    let until = Instant::now() + timeout;
    let addresses = match &target.host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => match tokio::time::timeout_at(until, resolver(name.to_string())).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                let text = text!(tunnel_not_resolved, %name, %error);
                return Err(Rejection::new(StatusCode::BAD_GATEWAY, text).with_error("dns_error"));
            }
            Err(_) => {
                let text = text!(tunnel_resolving_slow, %name);
                return Err(Rejection::new(StatusCode::GATEWAY_TIMEOUT, text).with_error("dns_timeout"));
            }
        },
    };
    let found = addresses.len();
    let allowed: Vec<IpAddr> = addresses
        .into_iter()
        .filter(|address| allow.allows_address(target, *address))
        .take(MAX_ADDRESSES)
        .collect();
    if allowed.is_empty() && found > 0 {
        let text = text!(tunnel_address_denied, %target);
        return Err(Rejection::denied(text).with_error("destination_ip_prohibited"));
    }
    let mut last = Rejection::new(StatusCode::BAD_GATEWAY, text!(tunnel_no_address, %target));
    let count = allowed.len();
    for (at, address) in allowed.into_iter().enumerate() {
        let address = SocketAddr::new(address, target.port);
        let until = if at + 1 == count { until } else { until.min(Instant::now() + ADDRESS_TIMEOUT) };
        match tokio::time::timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A tunnel passes bytes on at once.
                let _ = stream.set_nodelay(true);
                return Ok((stream, address));
            }
            Ok(Err(error)) => last = connect_failed(target, &error),
            Err(_) => {
                let text = text!(tunnel_no_answer, %target);
                last = Rejection::new(StatusCode::GATEWAY_TIMEOUT, text).with_error("connection_timeout");
            }
        }
    }
    Err(last)
}

fn connect_failed(target: &TunnelTarget, error: &io::Error) -> Rejection {
    let (status, error_type) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (StatusCode::BAD_GATEWAY, "connection_refused"),
        io::ErrorKind::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "connection_timeout"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            (StatusCode::BAD_GATEWAY, "destination_ip_unroutable")
        }
        _ => (StatusCode::BAD_GATEWAY, "connection_terminated"),
    };
    Rejection::new(status, text!(tunnel_cannot_connect, %target, %error)).with_error(error_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolving_to(addresses: &[&str]) -> NameResolver {
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
        let target: TunnelTarget = format!("far.test:{port}").parse().unwrap();
        let rules = [format!("far.test:{port}"), format!("127.0.0.1:{port}")];
        let (named, both) = (
            AllowList::parse([rules[0].as_str()]).unwrap(),
            AllowList::parse(rules.iter().map(|rule| &**rule)).unwrap(),
        );
        let timeout = Duration::from_secs(10);
        let lookup = resolving_to(&["10.1.2.3", "127.0.0.1"]);
        let refusal = dial(&target, &named, &lookup, timeout).await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::FORBIDDEN);
        let (_stream, address) = dial(&target, &both, &lookup, timeout).await.unwrap();
        assert_eq!(address.ip().to_string(), "127.0.0.1");
        let gone = dial(&target, &both, &resolving_to(&[]), timeout).await.unwrap_err();
        assert_eq!(gone.status, StatusCode::BAD_GATEWAY);
        drop(listener);
        let refused = dial(&target, &both, &lookup, timeout).await.unwrap_err();
        assert!(refused.say().contains("cannot connect to"), "{}", refused.say());
    }

    #[tokio::test(start_paused = true)]
    async fn names_and_targets_that_hang_are_given_up() {
        let target: TunnelTarget = "far.test:22".parse().unwrap();
        let allow = AllowList::parse(["far.test:22"]).unwrap();
        let hanging: NameResolver = Arc::new(|_| Box::pin(std::future::pending()));
        let refusal = dial(&target, &allow, &hanging, Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::GATEWAY_TIMEOUT);
        let failing: NameResolver = Arc::new(|_| Box::pin(async { Err(io::Error::other("no such name")) }));
        let refusal = dial(&target, &allow, &failing, Duration::from_secs(10)).await.unwrap_err();
        assert!(refusal.say().contains("no such name"), "{}", refusal.say());
    }
}
