//! An archive's bytes as spans.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use outflow_content::{Span, SpanError, Spans};

use crate::Layout;

/// Where an archive gets its entries' bytes from, and the CRCs that its layout did not know.
pub trait Bodies: Send + Sync + 'static {
    /// The run of `len` bytes from `offset` of an entry's file. For [`crate::Form::Stored`] it leaves as
    /// it is (a file span goes by sendfile).
    ///
    /// # Errors
    /// [`SpanError`] when the bytes cannot be had; the delivery is cut then.
    fn body(&self, entry: usize, offset: u64, len: u64) -> Result<Span, SpanError>;

    /// The CRC-32 of an entry if it is known by now. Never waits.
    fn crc32(&self, entry: usize) -> Option<u32>;

    /// Computes the CRC-32 of an entry, for a Range that needs it before the bytes have flowed.
    fn compute_crc32(&self, entry: usize) -> Pin<Box<dyn Future<Output = Result<u32, SpanError>> + Send>>;

    /// The CRC-32 of an entry became known because all its bytes flowed.
    fn learned_crc32(&self, entry: usize, crc32: u32);
}

/// A layout together with its bodies: a content's spans.
pub struct Archive<B: ?Sized> {
    layout: Arc<Layout>,
    bodies: Arc<B>,
}

impl<B: Bodies + ?Sized> Archive<B> {
    /// An archive of this layout, whose entries' bytes come from `bodies`.
    #[must_use]
    pub fn new(layout: Arc<Layout>, bodies: Arc<B>) -> Archive<B> {
        Archive { layout, bodies }
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }
}

impl<B: Bodies + ?Sized> Spans for Archive<B> {
    fn len(&self) -> u64 {
        self.layout.len()
    }

    fn span_at(&self, offset: u64) -> Result<Span, SpanError> {
        self.bodies.body(0, offset, 0)
    }
}
