//! Several files leave as one download from an axum app: fast_send's `each_file`.
//!
//! ```text
//! several_files [--plain] [ADDRESS [FILE]...]
//! ```
//!
//! Under Outflow's engine the kernel moves the files from the page cache to the socket. With
//! `--plain`, the same app runs under `axum::serve`, which copies them. The bytes are the same, and
//! so is what is printed about each delivery: started, sent, and completed or aborted, and cleanup.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use axum::routing::get;
use outflow_catalog::{LocalFile, Opened, RelPath, Root, RootOptions};
use outflow_content::{AbortReason, BodyMap, Content, Ending, FileSpan, Observer, SpanError, Wait};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (plain, address, paths) = arguments();
    let files = paths.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
    let app = Router::new().route("/", get(download)).with_state(Arc::from(files));

    let listener = tokio::net::TcpListener::bind(&address).await.context(address)?;
    println!("listening on http://{}/", listener.local_addr()?);
    if plain {
        axum::serve(listener, app).await?;
    } else {
        // The one changed line.
        outflow_wire::serve(listener, app).await?;
    }
    Ok(())
}

/// Answers with all files, one after the other.
async fn download(State(files): State<Arc<[LocalFile]>>, method: Method, headers: HeaderMap) -> Response {
    let each_file =
        files.iter().map(|file| FileSpan { file: Arc::new(file.clone()), offset: 0, len: file.size() });
    let content = Content::files(each_file).attachment("several.bin").observer(Printer);
    // What the engine sends stands in the response's extensions; the body is for servers that copy.
    content.respond(&method, &headers).map(Body::new)
}

/// Prints what becomes of a delivery.
struct Printer;

impl Observer for Printer {
    fn started(&mut self, body: &BodyMap) {
        println!("started: {} bytes to send", body.len());
    }
    fn sent(&mut self, now: u64, sum: u64) {
        println!("sent: {now} bytes, {sum} in all");
    }
    fn acked(&mut self, sum: u64) {
        println!("acked: {sum} bytes");
    }
    fn completed(&mut self, ending: &Ending) {
        println!("completed: {} bytes, {:?}", ending.sent, ending.evidence);
    }
    fn aborted(&mut self, ending: &Ending, reason: &AbortReason) {
        println!("aborted: {reason} after {} bytes, acked: {:?}", ending.sent, ending.acked);
    }
    fn failed(&mut self, ending: &Ending, error: &SpanError) {
        println!("failed: {error} after {} bytes, acked: {:?}", ending.sent, ending.acked);
    }
    fn cleanup(&mut self) {
        println!("cleanup");
    }
}

/// Whether to run under `axum::serve`, where to listen, and what to send: this example's own files,
/// if none are named.
fn arguments() -> (bool, String, Vec<PathBuf>) {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let before = arguments.len();
    arguments.retain(|argument| argument != "--plain");
    let plain = arguments.len() < before;

    let mut arguments = arguments.into_iter();
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let mut paths: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    if paths.is_empty() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        paths = vec![own.join("Cargo.toml"), own.join("src/bin/several_files.rs")];
    }
    (plain, address, paths)
}

/// Opens a file, once for all its deliveries: no other file can take its place.
fn open(path: &Path) -> anyhow::Result<LocalFile> {
    let root = Root::new(path, RootOptions::default()).with_context(|| path.display().to_string())?;
    match root.open(&RelPath::new(root.name())?, Wait::Yes)? {
        Opened::File(file) => Ok(file),
        Opened::Folder(_) => bail!("{} is a folder", path.display()),
    }
}
