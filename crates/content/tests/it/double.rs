//! What the tests share: requests, an observer that takes notes, and spans that go wrong.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body_util::BodyExt;
use outflow_content::{
    AbortReason, BodyMap, Content, ContentBody, Ending, Feed, FeedSpan, Observer, Span, SpanError, Spans,
};

/// A request's fields, from `Name: value` lines.
pub(crate) fn fields(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").expect("Name: value");
        headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

pub(crate) fn get(content: Content, lines: &[&str]) -> Response<ContentBody> {
    content.respond(&Method::GET, &fields(lines))
}

/// Polls the whole body, which never waits in these tests.
pub(crate) fn collect(response: Response<ContentBody>) -> Result<Bytes, SpanError> {
    block_on(response.into_body().collect()).map(http_body_util::Collected::to_bytes)
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Writes down what it is told, one line each.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Observer for Notes {
    fn started(&mut self, body: &BodyMap) {
        self.note(format!("started {}", body.len()));
    }
    fn sent(&mut self, now: u64, sum: u64) {
        self.note(format!("sent {now} {sum}"));
    }
    fn acked(&mut self, sum: u64) {
        self.note(format!("acked {sum}"));
    }
    fn completed(&mut self, ending: &Ending) {
        self.note(format!("completed {:?} {}", ending.evidence, ending.sent));
    }
    fn aborted(&mut self, ending: &Ending, reason: &AbortReason) {
        let acked = ending.acked.map(|acked| format!(", {acked} acked")).unwrap_or_default();
        self.note(format!("aborted {}{acked} {reason}", ending.sent));
    }
    fn failed(&mut self, ending: &Ending, error: &SpanError) {
        self.note(format!("failed {} {error}", ending.sent));
    }
    fn cleanup(&mut self) {
        self.note("cleanup".to_owned());
    }
}

/// Spans of one feed that says it has `len` bytes and yields `chunks`, or the error instead.
pub(crate) struct Fed {
    pub(crate) len: u64,
    pub(crate) chunks: Vec<Option<&'static str>>,
}

impl Spans for Fed {
    fn len(&self) -> u64 {
        self.len
    }

    fn span_at(&self, _: u64) -> Result<Span, SpanError> {
        let feed = Box::new(Chunks(self.chunks.iter().copied().collect()));
        Ok(Span::Feed(FeedSpan { feed, len: self.len }))
    }
}

struct Chunks(VecDeque<Option<&'static str>>);

impl Feed for Chunks {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| {
            chunk
                .map(|text| Bytes::from_static(text.as_bytes()))
                .ok_or_else(|| SpanError::Changed { name: "report.pdf".to_owned(), how: "size".to_owned() })
        }))
    }
}
