//! Entry point for a fuzz target; compiled for it only.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use super::response;

/// A stream that delivers at most so many bytes at a time.
struct Pieces<'a>(&'a [u8], usize);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (piece, rest) = self.0.split_at(self.0.len().min(self.1).min(space.remaining()));
        space.put_slice(piece);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

/// Reads `bytes` as the response to a request for a tunnel, at once and in pieces: the outcome is
/// the same, and a refusal can be shown in a terminal.
pub fn response(bytes: &[u8], piece: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without I/O");
    let at_once = runtime.block_on(read(Pieces(bytes, bytes.len())));
    assert_eq!(at_once, runtime.block_on(read(Pieces(bytes, piece))));
}

/// The response, what follows it, and its text as a refusal.
async fn read(mut stream: Pieces<'_>) -> Result<(StatusCode, HeaderMap, Vec<u8>, String), String> {
    let response = response::read(&mut stream).await.map_err(|error| error.to_string())?;
    let refusal = response.refusal(&mut Pieces(stream.0, stream.1)).await.to_string();
    assert!(!refusal.contains(|c: char| c.is_control() && c != '\t'), "{refusal:?}");
    let mut rest = response.early;
    stream.read_to_end(&mut rest).await.map_err(|error| error.to_string())?;
    Ok((response.status, response.fields, rest, refusal))
}
