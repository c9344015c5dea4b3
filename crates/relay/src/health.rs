//! Asking targets whether they are there, before a client has to.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::task::JoinSet;

use crate::address::Address;
use crate::flow::Socket;
use crate::relay::Shared;

/// Why nobody could be connected to.
pub(crate) enum Failure {
    /// The target's fault, or the network's.
    Target(String),
    /// This machine's: the target may be well.
    Own(io::Error),
}

/// Connects, for so long at the most.
pub(crate) async fn connect(address: &Address, limit: Duration) -> Result<Socket, Failure> {
    match tokio::time::timeout(limit, address.connect()).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(error)) if is_own(&error) => Err(Failure::Own(error)),
        Ok(Err(error)) => Err(Failure::Target(error.to_string())),
        Err(_) => Err(Failure::Target(format!("no answer within {} s", limit.as_secs_f32()))),
    }
}

/// Descriptors, memory: what this machine has run out of.
fn is_own(error: &io::Error) -> bool {
    let own = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| own.contains(&errno))
}

/// Checks every target again and again, if that is asked for, until the result is dropped.
pub(crate) fn watch(shared: &Arc<Shared>) -> JoinSet<()> {
    let mut checks = JoinSet::new();
    if let Some(interval) = shared.options.health_interval {
        for at in 0..shared.targets.addresses().len() {
            checks.spawn(check(Arc::clone(shared), at, interval));
        }
    }
    checks
}

async fn check(shared: Arc<Shared>, at: usize, interval: Duration) {
    let limit = shared.options.connect_timeout;
    loop {
        match connect(&shared.targets.addresses()[at], limit).await {
            Ok(_) => shared.targets.succeeded(at),
            // Until the next check has been made nobody else needs to find out.
            Err(Failure::Target(why)) => shared.targets.failed(at, interval + limit, &why),
            Err(Failure::Own(error)) => tracing::debug!(%error, "a target could not be checked"),
        }
        tokio::time::sleep(interval).await;
    }
}
