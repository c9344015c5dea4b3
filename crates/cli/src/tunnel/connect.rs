//! `outflow tunnel connect`: one tunnel, from standard input and output.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use outflow_texts::console;
use outflow_tunnel::carry::TunnelEnd;
use outflow_tunnel::client::{RemoteTarget, TunnelClient};

use super::client::{ServerAndTarget, SignalCount, TunnelClientArgs};
use super::stdio::{self, BreakOn};
use crate::failure::Failure;
use crate::run::logging;

/// Time for a tunnel to end by itself after a signal: ssh sends one when it is done, and closes
/// both ends at the same time.
const GRACE: Duration = Duration::from_millis(500);

/// Time for the server to receive the reset after that.
const RESET_TIMEOUT: Duration = Duration::from_secs(2);

// Warnings only by default: ssh shows the log to its user.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("log_level", |arg| arg.default_value("warn")))]
pub(crate) struct TunnelConnectArgs {
    #[command(flatten)]
    to: ServerAndTarget,

    #[command(flatten)]
    client: TunnelClientArgs,
}

pub(crate) fn run(options: &TunnelConnectArgs) -> Result<(), Failure> {
    let _logs = logging::start(options.client.log)?;
    let client = options.client.client(&options.to.url)?;
    let target = options.to.target_of(&client)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context(console!(cannot_start_runtime))?;
    let done = runtime.block_on(tunnel(&client, target.as_ref()));
    // A thread may be blocked on standard input for ever.
    runtime.shutdown_background();
    Ok(done?)
}

async fn tunnel(client: &TunnelClient, target: Option<&RemoteTarget>) -> anyhow::Result<()> {
    let signals = SignalCount::listen()?;
    let tunnel = tokio::select! {
        opened = client.open(target) => opened?,
        () = signals.clone().wait(1) => return Ok(()),
    };
    tracing::info!(resumable = tunnel.is_resumable(), "connected");
    let far = stdio::take().context(console!(cannot_use_stdio))?;
    let carried = tunnel.carry(BreakOn::new(far, signal_and(signals.clone(), GRACE)));
    let (totals, end) = tokio::select! {
        ended = carried => ended,
        () = signal_and(signals.clone(), GRACE + RESET_TIMEOUT) => return Ok(()),
    };
    tracing::info!(received = totals.to_far, sent = totals.from_far, %end, "tunnel ended");
    match end {
        TunnelEnd::Complete => Ok(()),
        // The user ended it; that is not an error.
        _ if signals.arrived() => Ok(()),
        end => Err(anyhow!("{end}")),
    }
}

/// Waits for a signal, and then for `time` or a second signal.
async fn signal_and(signals: SignalCount, time: Duration) {
    signals.clone().wait(1).await;
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = signals.wait(2) => {}
    }
}
