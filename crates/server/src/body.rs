//! What carries an answer's bytes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use outflow_content::{ContentBody, SpanError};

/// The body of an answer: a content's, or a small page.
pub enum ServerBody {
    /// A content's body; an engine that knows `Outgoing` never polls it.
    Content(ContentBody),
    /// Bytes in memory; `None` when they were handed out, or there are none.
    Bytes(Option<Bytes>),
}

impl ServerBody {
    /// A body without bytes.
    #[must_use]
    pub fn empty() -> ServerBody {
        ServerBody::Bytes(None)
    }
}

impl From<Vec<u8>> for ServerBody {
    fn from(bytes: Vec<u8>) -> ServerBody {
        ServerBody::Bytes((!bytes.is_empty()).then(|| bytes.into()))
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
            ServerBody::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ServerBody::Content(content) => content.is_end_stream(),
            ServerBody::Bytes(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ServerBody::Content(content) => content.size_hint(),
            ServerBody::Bytes(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
        }
    }
}
