//! The body of a response.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use outflow_content::{ContentBody, SpanError};
use tokio::sync::OwnedSemaphorePermit;

/// The body of a response: a content's, or bytes in memory.
pub enum ResponseBody {
    /// A content's body. The engine of `outflow_wire` sends the content itself and never polls the
    /// body.
    Content(ContentBody),
    /// Bytes in memory.
    Bytes(BytesBody),
}

/// Bytes in memory.
#[derive(Default)]
pub struct BytesBody {
    /// `None` if there are none left to send.
    bytes: Option<Bytes>,
    /// A share of a memory budget, returned with the body.
    memory: Option<OwnedSemaphorePermit>,
}

impl ResponseBody {
    /// A body without bytes.
    #[must_use]
    pub fn empty() -> ResponseBody {
        ResponseBody::Bytes(BytesBody::default())
    }

    /// Holds `memory`, a share of a budget, until the body is dropped. A content's body holds none.
    pub fn hold(&mut self, memory: OwnedSemaphorePermit) {
        if let ResponseBody::Bytes(body) = self {
            body.memory = Some(memory);
        }
    }
}

impl From<Vec<u8>> for ResponseBody {
    fn from(bytes: Vec<u8>) -> ResponseBody {
        ResponseBody::Bytes(BytesBody { bytes: (!bytes.is_empty()).then(|| bytes.into()), memory: None })
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = SpanError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SpanError>>> {
        match &mut *self {
            ResponseBody::Content(content) => Pin::new(content).poll_frame(cx),
            ResponseBody::Bytes(body) => Poll::Ready(body.bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Content(content) => content.is_end_stream(),
            ResponseBody::Bytes(body) => body.bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Content(content) => content.size_hint(),
            ResponseBody::Bytes(body) => {
                SizeHint::with_exact(body.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}
