//! `outflow tunnel listen --reverse`: the server listens, and tunnels lead to a target here.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use outflow_texts::console;
use outflow_tunnel::carry::JoinedStream;
use outflow_tunnel::client::{IncomingConnection, RemoteListener, RemoteTarget, TunnelClient};
use tokio::net::TcpStream;

use super::client::SignalCount;
use super::connection::{TunnelPermits, carry};
use super::stdio::BreakOn;

/// Time for the target to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// First and longest delay before the client asks the server to listen again.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(500);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

/// Makes the server listen until the first signal, and again whenever the connection to it breaks.
pub(super) async fn run(
    client: &TunnelClient,
    at: SocketAddr,
    target: &RemoteTarget,
    permits: &TunnelPermits,
    signals: SignalCount,
) -> anyhow::Result<()> {
    let stop = signals.wait(1);
    tokio::pin!(stop);
    // Only a failure of the first attempt ends the command.
    let mut listening = tokio::select! {
        listening = client.listen(at) => listening?,
        () = &mut stop => return Ok(()),
    };
    println!("{}", console!(tunnel_listening_far, address = %listening.address()));
    // Keeps the port that the server chose.
    let at = listening.address().parse().unwrap_or(at);
    loop {
        let lost = tokio::select! {
            lost = accept(&mut listening, client, target, permits) => lost,
            () = &mut stop => return Ok(()),
        };
        tracing::warn!(error = %lost, "lost the server; reconnecting");
        drop(listening);
        listening = tokio::select! {
            listening = listen_again(client, at) => listening?,
            () = &mut stop => return Ok(()),
        };
        tracing::info!(address = listening.address(), "the server listens again");
    }
}

async fn listen_again(client: &TunnelClient, at: SocketAddr) -> anyhow::Result<RemoteListener> {
    let mut wait = MIN_RETRY_DELAY;
    loop {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(MAX_RETRY_DELAY);
        match client.listen(at).await {
            Ok(listening) => return Ok(listening),
            Err(error) if error.is_temporary() || is_address_in_use(&error) => {
                tracing::debug!(%error, "not listening yet");
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The server may not have noticed the broken connection, and so still listen for it.
fn is_address_in_use(error: &outflow_tunnel::client::ConnectError) -> bool {
    match error {
        outflow_tunnel::client::ConnectError::Refused(_, refusal) => {
            refusal.status() == http::StatusCode::CONFLICT
        }
        _ => false,
    }
}

/// Serves connections that the server accepts, until the connection to the server breaks.
async fn accept(
    listening: &mut RemoteListener,
    client: &TunnelClient,
    target: &RemoteTarget,
    permits: &TunnelPermits,
) -> io::Error {
    loop {
        let permit = permits.take().await;
        let accepted = match listening.next().await {
            Ok(accepted) => accepted,
            Err(error) => return error,
        };
        let (client, target) = (client.clone(), target.clone());
        tokio::spawn(async move {
            serve(&client, &accepted, &target).await;
            drop(permit);
        });
    }
}

/// Connects one accepted connection with the target.
async fn serve(client: &TunnelClient, accepted: &IncomingConnection, target: &RemoteTarget) {
    let peer = &*accepted.peer;
    let connected =
        tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((target.host(), target.port()))).await;
    let tunnel = match client.accept(accepted).await {
        Ok(tunnel) => tunnel,
        Err(error) => return tracing::warn!(peer, %error, "cannot open a tunnel"),
    };
    match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => carry(tunnel, stream, peer).await,
        Err(error) => {
            tracing::warn!(peer, %target, %error, "cannot connect to the target");
            // A far end that breaks at once resets the client.
            let broken = JoinedStream::new(tokio::io::empty(), tokio::io::sink());
            tunnel.carry(BreakOn::new(broken, std::future::ready(()))).await;
        }
    }
}
