//! `outflow tunnel connect`: one tunnel, for standard input and output.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use outflow_tunnel::carry::End;
use outflow_tunnel::client::{Client, Target};

use super::client::{ClientOptions, ServerAndTarget, Signals};
use super::stdio::{self, Until};
use crate::serve::options::LogLevel;
use crate::{Failure, run::logging};

/// How long a tunnel may take to end by itself after a signal. ssh sends one when it is done, and closes its ends at the
/// same time: that is no reason to break what is about to end in order.
const GRACE: Duration = Duration::from_millis(500);

/// How long the server may take after that to hear that it has been broken.
const FAREWELL: Duration = Duration::from_secs(2);

/// What it can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConnectOptions {
    #[command(flatten)]
    to: ServerAndTarget,

    #[command(flatten)]
    client: ClientOptions,
}

pub(crate) fn run(options: &ConnectOptions) -> Result<(), Failure> {
    // Quiet unless something is wrong: ssh shows it to people.
    let _logs = logging::start(options.client.log_level.unwrap_or(LogLevel::Warn), options.client.log_format);
    let client = options.client.client(&options.to.url)?;
    let target = options.to.target_of(&client)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot make a runtime")?;
    let done = runtime.block_on(tunnel(&client, target.as_ref()));
    // A thread may wait for standard input, perhaps for ever.
    runtime.shutdown_background();
    Ok(done?)
}

async fn tunnel(client: &Client, target: Option<&Target>) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let tunnel = tokio::select! {
        opened = client.open(target) => opened?,
        () = signals.clone().wait(1) => return Ok(()),
    };
    tracing::info!(resumable = tunnel.is_resumable(), "connected");
    let far = stdio::take().context("standard input and output cannot be used")?;
    let carried = tunnel.carry(Until::new(far, patience(signals.clone(), GRACE)));
    let (totals, end) = tokio::select! {
        ended = carried => ended,
        () = patience(signals.clone(), GRACE + FAREWELL) => return Ok(()),
    };
    tracing::info!(received = totals.to_far, sent = totals.from_far, %end, "tunnel ended");
    match end {
        End::Complete => Ok(()),
        // Whoever wanted it to end needs not be told that it did.
        _ if signals.arrived() => Ok(()),
        end => Err(anyhow!("{end}")),
    }
}

/// Waits for a signal, and then for so long, or for a second one.
async fn patience(signals: Signals, time: Duration) {
    signals.clone().wait(1).await;
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = signals.wait(2) => {}
    }
}
