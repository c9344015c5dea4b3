//! Signals of a server: SIGINT and SIGTERM end it, SIGHUP makes it read its files again.

use std::time::Duration;

use anyhow::Context as _;
use outflow_texts::console;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What SIGHUP does. It may block.
pub(crate) type Hangup = Box<dyn FnMut() + Send>;

/// A server that can be ended from another thread.
pub(crate) trait Ends: Send + 'static {
    /// In good order, within the time.
    fn drain(&self, limit: Duration);
    /// At once.
    fn stop(&self);
}

impl Ends for outflow_wire::ServerHandle {
    fn drain(&self, limit: Duration) {
        self.drain(limit);
    }

    fn stop(&self) {
        self.stop();
    }
}

impl Ends for outflow_relay::RelayHandle {
    fn drain(&self, limit: Duration) {
        self.drain(limit);
    }

    fn stop(&self) {
        self.stop();
    }
}

/// From now on the first SIGINT or SIGTERM lets downloads finish, for `drain` at the most, and the
/// second does not. SIGHUP calls `hangup`; if there is none, it ends the process, as it does by
/// itself.
pub(crate) fn listen(server: impl Ends, drain: Duration, hangup: Option<Hangup>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context(console!(cannot_make_signal_runtime))?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        let hangup =
            hangup.map(|call| arrive(SignalKind::hangup()).map(|signal| (signal, call))).transpose()?;
        (arrive(SignalKind::interrupt())?, arrive(SignalKind::terminate())?, hangup)
    };
    let wait = move || {
        runtime.block_on(async {
            let mut next = async || loop {
                tokio::select! {
                    _ = interrupt.recv() => return "SIGINT",
                    _ = terminate.recv() => return "SIGTERM",
                    call = hung_up(&mut hangup) => {
                        tracing::info!(signal = "SIGHUP", "reading files again");
                        call();
                    }
                }
            };
            let name = next().await;
            tracing::info!(
                signal = name,
                drain = drain.as_secs(),
                "finishing what is under way; a second signal stops at once"
            );
            server.drain(drain);
            let name = next().await;
            tracing::info!(signal = name, "stopping at once");
            server.stop();
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).context(console!(no_signal_thread))?;
    Ok(())
}

fn arrive(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context(console!(cannot_wait_for_signals))
}

/// Waits for SIGHUP, for ever if nothing is to be done then.
async fn hung_up(hangup: &mut Option<(Signal, Hangup)>) -> &mut Hangup {
    match hangup {
        Some((signal, call)) => {
            signal.recv().await;
            call
        }
        None => std::future::pending().await,
    }
}
