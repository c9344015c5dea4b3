//! What carries an answer's bytes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use outflow_content::{ContentBody, SpanError};
use tokio::sync::OwnedSemaphorePermit;

/// The body of an answer: a content's, or a small page.
pub enum ServerBody {
    /// A content's body; an engine that knows `Outgoing` never polls it.
    Content(ContentBody),
    /// A small page.
    Page(Page),
}

/// Bytes in memory.
#[derive(Default)]
pub struct Page {
    /// `None` when they were handed out, or there are none.
    bytes: Option<Bytes>,
    /// A share of the memory that large pages may have together, given back with the page.
    room: Option<OwnedSemaphorePermit>,
}

impl ServerBody {
    /// A body without bytes.
    #[must_use]
    pub fn empty() -> ServerBody {
        ServerBody::Page(Page::default())
    }

    /// Keeps `room` taken until the body is gone.
    pub(crate) fn hold(&mut self, room: OwnedSemaphorePermit) {
        if let ServerBody::Page(page) = self {
            page.room = Some(room);
        }
    }
}

impl From<Vec<u8>> for ServerBody {
    fn from(bytes: Vec<u8>) -> ServerBody {
        ServerBody::Page(Page { bytes: (!bytes.is_empty()).then(|| bytes.into()), room: None })
    }
}

impl Body for ServerBody {
    type Data = Bytes;
    type Error = SpanError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SpanError>>> {
        match &mut *self {
            ServerBody::Content(content) => Pin::new(content).poll_frame(cx),
            ServerBody::Page(page) => Poll::Ready(page.bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ServerBody::Content(content) => content.is_end_stream(),
            ServerBody::Page(page) => page.bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ServerBody::Content(content) => content.size_hint(),
            ServerBody::Page(page) => {
                SizeHint::with_exact(page.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}
