//! Ranged requests by `object_store`: for TLS, GCS, Azure and whatever else it speaks.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore};
use tokio::time::timeout;

use crate::fetch::direct::FIRST_BYTE;
use crate::fetch::retry::FetchFailure;
use crate::object::Object;

/// The rest of an answer's body.
pub(crate) struct ThroughBody {
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    chunk: Bytes,
    left: u64,
}

/// Requests `range` of `object`, and waits for the head of the answer.
pub(crate) async fn open(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    object: &Object,
    range: Range<u64>,
) -> Result<ThroughBody, FetchFailure> {
    let strong = object.etag.as_ref().filter(|etag| !etag.starts_with("W/"));
    let options = GetOptions {
        range: Some(GetRange::Bounded(range.clone())),
        if_match: strong.cloned(),
        version: object.version.clone(),
        ..GetOptions::default()
    };
    let answer = match timeout(FIRST_BYTE + Duration::from_secs(5), store.get_opts(path, options)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(failure(&error)),
        Err(_) => return Err(FetchFailure::passing("the store did not answer in time")),
    };
    if answer.meta.size != object.size {
        let (now, then) = (answer.meta.size, object.size);
        return Err(FetchFailure::Changed(format!("it has {now} bytes by now, it had {then}")));
    }
    if let (Some(wanted), Some(got)) = (&object.etag, &answer.meta.e_tag)
        && wanted.trim_matches('"') != got.trim_matches('"')
    {
        return Err(FetchFailure::Changed(format!("its tag in the store is {got} by now, it was {wanted}")));
    }
    if answer.range != range {
        return Err(FetchFailure::passing("the store sent another range than was asked for"));
    }
    Ok(ThroughBody { stream: answer.into_stream(), chunk: Bytes::new(), left: range.end - range.start })
}

/// What an error means. Its text may contain a signed address and is not repeated.
fn failure(error: &Error) -> FetchFailure {
    match error {
        Error::NotFound { .. } => FetchFailure::of_status(404, None),
        Error::Precondition { .. } => FetchFailure::of_status(412, None),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => FetchFailure::of_status(403, None),
        Error::NotImplemented { .. } | Error::NotSupported { .. } | Error::InvalidPath { .. } => {
            FetchFailure::Lasting("the store cannot do this".to_owned())
        }
        _ => FetchFailure::passing("the store did not answer well"),
    }
}

impl ThroughBody {
    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Copies received bytes; `WouldBlock` if there are none.
    pub(crate) fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = into.len().min(self.chunk.len()).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.chunk.copy_to_slice(&mut into[..len]);
        self.left -= len as u64;
        Ok(len)
    }

    /// Waits for more.
    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        while self.chunk.is_empty() {
            match self.stream.next().await {
                Some(Ok(chunk)) if chunk.len() as u64 > self.left => {
                    return Err(io::Error::other("it sends more than was asked for"));
                }
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(_)) => return Err(io::Error::other("its answer broke off")),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(())
    }
}
