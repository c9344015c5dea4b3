//! The threads that talk to stores: one small runtime for the whole process.
//!
//! A connection belongs to the runtime that opened it. Callers come from many runtimes (each
//! serving thread has its own), so all of the work is done on this one.

use std::future::Future;
use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Number of threads that talk to all stores.
///
/// Bound: object stores.
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
            // Another thread was faster. In a task, a runtime must be dropped without waiting.
            second.shutdown_background();
            RUNTIME.get().map(|runtime| runtime.handle().clone()).ok_or_else(|| io::ErrorKind::Other.into())
        }
    }
}

/// Runs `work` on `runtime`. Dropping the future aborts the work. `None`: it panicked.
pub(crate) async fn run<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    struct AbortOnDrop<T>(JoinHandle<T>);
    impl<T> Drop for AbortOnDrop<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let mut task = AbortOnDrop(runtime.spawn(work));
    (&mut task.0).await.ok()
}
