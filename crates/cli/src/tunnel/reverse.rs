//! `outflow tunnel listen --reverse`: what is here, at an address of the server.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use outflow_tunnel::carry::Joined;
use outflow_tunnel::client::{Accepted, Client, Listening, Target};
use tokio::net::TcpStream;

use super::client::Signals;
use super::listen::{self, Places};
use super::stdio::Until;

/// How long what is here may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The shortest wait before the server is asked to listen again, and the longest.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Has the server listen until the first signal, and again whenever it is lost.
pub(super) async fn run(
    client: &Client,
    at: SocketAddr,
    target: &Target,
    places: &Places,
    signals: Signals,
) -> anyhow::Result<()> {
    let stop = signals.wait(1);
    tokio::pin!(stop);
    // At first, what is wrong is for whoever is looking.
    let mut listening = tokio::select! {
        listening = client.listen(at) => listening?,
        () = &mut stop => return Ok(()),
    };
    println!("listening on tcp://{}/ of the server", listening.address());
    // If the server chose the port, it is to be the same again.
    let at = listening.address().parse().unwrap_or(at);
    loop {
        let lost = tokio::select! {
            lost = accept(&mut listening, client, target, places) => lost,
            () = &mut stop => return Ok(()),
        };
        tracing::warn!(error = %lost, "the server was lost: asking it again to listen");
        drop(listening);
        listening = tokio::select! {
            listening = listen_again(client, at) => listening?,
            () = &mut stop => return Ok(()),
        };
        tracing::info!(address = listening.address(), "the server listens again");
    }
}

async fn listen_again(client: &Client, at: SocketAddr) -> anyhow::Result<Listening> {
    let mut wait = SHORTEST;
    loop {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST);
        match client.listen(at).await {
            Ok(listening) => return Ok(listening),
            Err(error) if error.may_pass() || is_taken(&error) => {
                tracing::debug!(%error, "not listening yet");
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The server may not know yet that we were lost, and listen for us still.
fn is_taken(error: &outflow_tunnel::client::Error) -> bool {
    match error {
        outflow_tunnel::client::Error::Refused(_, refusal) => refusal.status() == http::StatusCode::CONFLICT,
        _ => false,
    }
}

/// Serves what the server accepts until it is lost.
async fn accept(listening: &mut Listening, client: &Client, target: &Target, places: &Places) -> io::Error {
    loop {
        let place = places.take().await;
        let accepted = match listening.next().await {
            Ok(accepted) => accepted,
            Err(error) => return error,
        };
        let (client, target) = (client.clone(), target.clone());
        tokio::spawn(async move {
            serve(&client, &accepted, &target).await;
            drop(place);
        });
    }
}

/// Connects one of them with what is here.
async fn serve(client: &Client, accepted: &Accepted, target: &Target) {
    let peer = &*accepted.peer;
    let connected = tokio::time::timeout(PATIENCE, TcpStream::connect((target.host(), target.port()))).await;
    let tunnel = match client.accept(accepted).await {
        Ok(tunnel) => tunnel,
        Err(error) => return tracing::warn!(peer, %error, "no tunnel"),
    };
    match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => listen::carry(tunnel, stream, peer).await,
        Err(error) => {
            tracing::warn!(peer, %target, %error, "what is to be reached cannot be");
            // A far end that breaks at once: whoever connected is reset.
            let nothing = Joined::of(tokio::io::empty(), tokio::io::sink());
            tunnel.carry(Until::new(nothing, std::future::ready(()))).await;
        }
    }
}
