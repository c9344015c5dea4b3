//! The threads on which stores are asked: one small runtime for the whole process.
//!
//! Connections belong to the runtime that opened them. Callers come from many (each serving thread has one of its
//! own), so all of the work is done here, whoever asks.

use std::future::Future;
use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

const THREADS: usize = 2;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The runtime's handle; the first call starts it.
pub(crate) fn handle() -> io::Result<Handle> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.handle().clone());
    }
    let runtime =
        Builder::new_multi_thread().worker_threads(THREADS).thread_name("store").enable_all().build()?;
    let handle = runtime.handle().clone();
    match RUNTIME.set(runtime) {
        Ok(()) => Ok(handle),
        Err(second) => {
            // Somebody was faster. A runtime must not be dropped where a task runs, unless it need not wait.
            second.shutdown_background();
            RUNTIME.get().map(|runtime| runtime.handle().clone()).ok_or_else(|| io::ErrorKind::Other.into())
        }
    }
}

/// Runs `work` on `runtime`. Whoever stops waiting stops the work. None: it panicked.
pub(crate) async fn run<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    struct Stop<T>(JoinHandle<T>);
    impl<T> Drop for Stop<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let mut task = Stop(runtime.spawn(work));
    (&mut task.0).await.ok()
}
