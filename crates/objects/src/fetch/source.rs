//! An object's bytes as a source of spans.

use std::fmt;
use std::sync::Arc;

use outflow_content::{FeedSpan, Source, Span};
use parking_lot::Mutex;

use crate::fetch::engine::Engine;
use crate::fetch::reader::ObjectReader;
use crate::object::Object;

/// The bytes of an object in a store, fetched while they leave.
pub(crate) struct ObjectSource {
    engine: Arc<Engine>,
    object: Arc<Object>,
    /// The reader of a span that is fetched ahead, and the span's length. A request for exactly
    /// this span takes it; any other one drops it and what it has fetched.
    ahead: Mutex<Option<(u64, ObjectReader)>>,
}

impl ObjectSource {
    pub(crate) fn new(engine: Arc<Engine>, object: Arc<Object>) -> ObjectSource {
        ObjectSource { engine, object, ahead: Mutex::default() }
    }

    fn reader(&self, offset: u64, len: u64) -> ObjectReader {
        ObjectReader::new(&self.engine, &self.object, offset..offset.saturating_add(len))
    }
}

impl Source for ObjectSource {
    fn span(self: Arc<Self>, offset: u64, len: u64) -> Span {
        let ahead = self.ahead.lock().take();
        let ahead = ahead.filter(|(of, reader)| reader.at() == offset && *of == len);
        let reader = ahead.map_or_else(|| self.reader(offset, len), |(_, reader)| reader);
        Span::Feed(FeedSpan { feed: Box::new(reader), len })
    }

    fn fetch_ahead(&self, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        let mut reader = self.reader(offset, len);
        reader.look_ahead();
        *self.ahead.lock() = Some((len, reader));
    }
}

impl fmt::Debug for ObjectSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectSource").field(&self.object.key).finish()
    }
}
