//! One request and its response.
//!
//! ```text
//! prepare -> call -> upgrade                    the connection stops being HTTP
//!                 -> hand off                   the service writes the body
//!                 -> deliver (spans)  -> settle
//!                 -> copy (any body)  -> settle
//!                 -> fail                       the service gave no answer
//! ```

use std::future::poll_fn;
use std::ops::ControlFlow::{self, Break, Continue};
use std::task::Poll;

use http::header::CONNECTION;
use http::response::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use outflow_content::{AbortReason, Outgoing, PrebuiltAnswer};

use super::encode::{self, Persistence};
use super::head::RequestHead;
use super::plain::PlainHead;
use super::refusal::send_text;
use crate::connection::buffer::PooledBuffer;
use crate::connection::{ClosingState, Connection};
use crate::context::ThreadContext;
use crate::delivery::{PendingDelivery, disconnected};
use crate::extensions::{PeerAddr, ViaProxy};
use crate::message::framing::{RequestFraming, ResponseFraming, may_have_body, response_framing};
use crate::message::request_body::{BodyHandle, RequestBody};
use crate::send::copy::{self, CopyFailure};
use crate::send::{self, BegunDelivery, SendFailure};
use crate::service::HttpService;
use crate::upgrade::{Handoff, UpgradePromise, Upgraded};

/// What became of a response: the delivery to follow, if it has an observer.
type SendResult = Result<Option<PendingDelivery>, SendFailure>;

/// A request under way on its connection.
struct Exchange<'a, S> {
    connection: &'a mut Connection,
    /// Bytes read beyond the request.
    input: &'a mut PooledBuffer,
    context: &'a ThreadContext<S>,
    version: Version,
    is_head: bool,
    is_connect: bool,
    /// The connection persists, as far as is known.
    keep: bool,
    /// The request's body, unless it is empty.
    body: Option<BodyHandle>,
}

/// What a response asks for.
enum ResponseStep {
    Upgrade(UpgradePromise),
    HandOff(Handoff),
    Answer,
    Fail,
}

/// Answers one request. Breaks when the connection has ended; else `input` is what was read beyond
/// the request.
pub(super) async fn exchange<S: HttpService>(
    connection: &mut Connection,
    input: &mut PooledBuffer,
    head: RequestHead,
    context: &ThreadContext<S>,
) -> ControlFlow<()> {
    let (mut exchange, request, promise) = Exchange::prepare(connection, input, head, context)?;
    let mut response = match context.service.answer(request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(client = %exchange.connection.peer, error, "the service failed");
            let text = "500 Internal Server Error: the service failed; see the server's log\n";
            return Box::pin(exchange.fail(text)).await;
        }
    };
    match exchange.next_step(&mut response, promise) {
        ResponseStep::Answer => {
            let sent = exchange.send(response).await;
            exchange.settle(sent).await
        }
        ResponseStep::Upgrade(promise) => Box::pin(exchange.upgrade(response.into_parts().0, promise)).await,
        ResponseStep::HandOff(handoff) => Box::pin(exchange.hand_off(response.into_parts().0, handoff)).await,
        ResponseStep::Fail => {
            let status = response.status();
            tracing::error!(client = %exchange.connection.peer, %status, "the service's final response is an interim one");
            let text =
                "500 Internal Server Error: the service gave no final response; see the server's log\n";
            Box::pin(exchange.fail(text)).await
        }
    }
}

/// Answers a plain request with what was built beforehand. Breaks when the connection has ended.
pub(super) async fn answer_prebuilt<S>(
    connection: &mut Connection,
    input: &mut PooledBuffer,
    PlainHead { is_head, answer, .. }: PlainHead<PrebuiltAnswer>,
    context: &ThreadContext<S>,
) -> ControlFlow<()> {
    let (version, keep) = (Version::HTTP_11, !context.is_draining());
    // Bytes read beyond the request stay. Usually there are none, and the answer takes the
    // buffer.
    let mut out = if input.is_empty() {
        std::mem::replace(input, PooledBuffer::none())
    } else {
        PooledBuffer::borrow()
    };
    let framing = ResponseFraming::Length(answer.len());
    let (lines, none) = (answer.header_lines(), HeaderMap::new());
    encode::head_with(&mut out, StatusCode::OK, lines, &none, framing, persistence(keep, version));
    let outgoing = answer.into_outgoing();
    // The answer to HEAD drops its body's observer before it leaves.
    let outgoing = if is_head { Outgoing::empty() } else { outgoing };
    let guard = ResetOnDrop::new(connection);
    let sent = deliver(guard.connection, out, outgoing, (StatusCode::OK, keep), context).await;
    guard.disarm();
    let exchange =
        Exchange { connection, input, context, version, is_head, is_connect: false, keep, body: None };
    exchange.settle(sent).await
}

impl<'a, S: HttpService> Exchange<'a, S> {
    /// Makes of a head the request that the service gets.
    fn prepare(
        connection: &'a mut Connection,
        input: &'a mut PooledBuffer,
        head: RequestHead,
        context: &'a ThreadContext<S>,
    ) -> ControlFlow<(), (Self, Request<RequestBody>, Option<UpgradePromise>)> {
        let RequestHead { request, framing, keep_alive, expect_continue, upgrade, .. } = head;
        let is_connect = request.method() == Method::CONNECT;
        let (body, handle) = match framing {
            RequestFraming::Length(0) => (RequestBody::empty(), None),
            _ => {
                let Some(read) = connection.take_read() else { return Break(()) };
                let rest = std::mem::replace(input, PooledBuffer::none());
                let stall = context.options.stall_timeout;
                let (body, handle) = RequestBody::new(read, rest, framing, expect_continue, stall);
                (body, Some(handle))
            }
        };
        if input.is_empty() {
            // Back to the pool while the service works and the response leaves.
            *input = PooledBuffer::none();
        }
        let exchange = Exchange {
            version: request.version(),
            is_head: request.method() == Method::HEAD,
            is_connect,
            keep: keep_alive,
            body: handle,
            connection,
            input,
            context,
        };
        let mut request = request.map(|()| body);
        let extensions = request.extensions_mut();
        extensions.insert(PeerAddr(exchange.connection.peer));
        if let Some(session) = exchange.connection.session() {
            extensions.insert(session.secure());
        }
        if let Some(via) = exchange.connection.via() {
            extensions.insert(ViaProxy(via));
        }
        let may_switch = (upgrade || is_connect) && exchange.body.is_none();
        let promise = may_switch.then(|| UpgradePromise::put(&mut request));
        Continue((exchange, request, promise))
    }

    /// Whether the response ends HTTP, is handed off, or is sent.
    fn next_step<B>(&self, response: &mut Response<B>, promise: Option<UpgradePromise>) -> ResponseStep {
        let status = response.status();
        let switches = status == StatusCode::SWITCHING_PROTOCOLS || (self.is_connect && status.is_success());
        match promise {
            Some(promise) if switches => return ResponseStep::Upgrade(promise),
            _ if status.is_informational() => return ResponseStep::Fail,
            _ => {}
        }
        match response.extensions_mut().remove::<Handoff>() {
            Some(handoff) if status.is_success() && !self.is_head => ResponseStep::HandOff(handoff),
            _ => ResponseStep::Answer,
        }
    }

    /// Sends the head that ends HTTP, and keeps the promise made to the service.
    async fn upgrade(mut self, head: Parts, promise: UpgradePromise) -> ControlFlow<()> {
        let persistence = Persistence::Keep(self.version);
        if let Some(raw) = self.release(&head, ResponseFraming::None, persistence).await {
            promise.keep(raw);
        }
        Break(())
    }

    /// Sends the head, and gives the connection to the service for the body.
    async fn hand_off(mut self, head: Parts, handoff: Handoff) -> ControlFlow<()> {
        if let Some(body) = &self.body {
            self.connection.wrote(body.response_begins());
        }
        // A connection with a request's body still in it cannot be given away.
        if self.take_back_input()
            && let Some(raw) = self.release(&head, ResponseFraming::UntilClose, Persistence::Close).await
        {
            handoff.take(raw);
        }
        Break(())
    }

    /// Sends the response, head and body.
    async fn send(&mut self, mut response: Response<S::Body>) -> SendResult {
        let outgoing = if self.is_head { None } else { Outgoing::take(&mut response) };
        let framing = match &outgoing {
            Some(outgoing) => ResponseFraming::Length(outgoing.len()),
            None => response_framing(&response, self.version, self.is_head),
        };
        self.keep = self.keep
            && self.body.as_ref().is_none_or(BodyHandle::is_done)
            && !self.context.is_draining()
            && framing != ResponseFraming::UntilClose
            && !has_close(response.headers());
        let (status, persistence) = (response.status(), persistence(self.keep, self.version));
        let mut out = PooledBuffer::borrow();
        encode::head(&mut out, status, response.headers(), framing, persistence);
        if let Some(body) = &self.body {
            self.connection.wrote(body.response_begins());
        }
        let guard = ResetOnDrop::new(self.connection);
        let sent = match outgoing {
            Some(outgoing) => {
                deliver(guard.connection, out, outgoing, (status, self.keep), self.context).await
            }
            None => {
                self.context.counters.responded(status);
                let has_body = !self.is_head && may_have_body(status);
                let framing = if has_body { framing } else { ResponseFraming::None };
                let copied =
                    Box::pin(copy_body(guard.connection, out, response.into_body(), framing, self.context));
                copied.await.map(|()| None)
            }
        };
        guard.disarm();
        sent
    }
}

impl<S> Exchange<'_, S> {
    /// Goes on with the connection, or ends it, by what became of the response.
    async fn settle(mut self, sent: SendResult) -> ControlFlow<()> {
        match sent {
            Ok(None) if self.keep && self.take_back_input() => Continue(()),
            Ok(Some(pending)) if self.keep && self.take_back_input() => {
                let no_input = self.input.is_empty();
                let added = self.connection.add_pending(pending, no_input, &self.context.options).await;
                match added {
                    Ok(()) => Continue(()),
                    Err(reason) => self.reset(&reason),
                }
            }
            Ok(pending) => Box::pin(self.end(true, pending)).await,
            Err(SendFailure::Unsent) => {
                let text = "500 Internal Server Error: the file cannot be read; see the server's log\n";
                Box::pin(self.fail_with(text, true)).await
            }
            Err(SendFailure::Cut(reason)) => self.reset(&reason),
        }
    }

    /// Answers in place of a service that gave no answer, and ends the connection.
    async fn fail(self, text: &str) -> ControlFlow<()> {
        let with_text = !self.is_head;
        self.fail_with(text, with_text).await
    }

    async fn fail_with(self, text: &str, with_text: bool) -> ControlFlow<()> {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let sent = send_text(self.connection, self.context, status, text, with_text).await;
        self.end(sent.is_ok(), None).await
    }

    fn reset(self, reason: &AbortReason) -> ControlFlow<()> {
        self.connection.reset(reason);
        Break(())
    }

    /// Ends the connection behind a response: in an orderly way, and without an RST if the client
    /// may still be sending a body that nobody wanted. The delivery that the response was, if any,
    /// is waited for.
    async fn end(mut self, was_sent: bool, pending: Option<PendingDelivery>) -> ControlFlow<()> {
        if let Some((read, _)) = self.body.take().and_then(BodyHandle::finish) {
            self.connection.put_read(read);
        }
        let options = &self.context.options;
        if let Some(pending) = pending
            && let Err(reason) = self.connection.add_pending(pending, true, options).await
        {
            return self.reset(&reason);
        }
        if was_sent {
            self.connection.finish(options, ClosingState::AfterAnswer).await;
        }
        Break(())
    }

    /// Takes back what the request's body borrowed. False when the service has not read it to its
    /// end, or still holds it.
    fn take_back_input(&mut self) -> bool {
        let Some(body) = self.body.take() else { return true };
        match body.finish() {
            Some((read, Some(rest))) => {
                self.connection.put_read(read);
                *self.input = rest;
                true
            }
            _ => false,
        }
    }

    /// Sends the last head of a connection that stops being HTTP, and takes it apart.
    async fn release(
        &mut self,
        head: &Parts,
        framing: ResponseFraming,
        persistence: Persistence,
    ) -> Option<Upgraded> {
        // Earlier deliveries still belong to HTTP: they are settled first.
        if let Err(reason) = self.connection.wait_for_acks(0, &self.context.options).await {
            self.connection.reset(&reason);
            return None;
        }
        let mut out = PooledBuffer::borrow();
        encode::head(&mut out, head.status, &head.headers, framing, persistence);
        self.context.counters.responded(head.status);
        self.connection.timer().set(self.context.options.stall_timeout);
        while !out.is_empty() {
            let n = self.connection.send(out.filled(), false).await.ok()?;
            out.consume(n);
        }
        let input = std::mem::replace(self.input, PooledBuffer::none());
        Some(Upgraded::new(self.connection.take_raw()?, input, self.context.ending.subscribe()))
    }
}

fn persistence(keep: bool, version: Version) -> Persistence {
    if keep { Persistence::Keep(version) } else { Persistence::Close }
}

/// Sends an encoded head and the spans behind it: most often at once.
async fn deliver<S>(
    connection: &mut Connection,
    mut out: PooledBuffer,
    mut outgoing: Outgoing,
    (status, keep): (StatusCode, bool),
    context: &ThreadContext<S>,
) -> SendResult {
    let (head, len) = (out.filled().len(), outgoing.len());
    let mut begun = outgoing.is_observed().then(|| BegunDelivery::new(connection, &mut outgoing, !keep));
    let (counters, by_kernel) = (&context.counters, context.options.sendfile);
    let at_once = poll_fn(|cx| {
        Poll::Ready(send::poll_at_once(connection, counters, by_kernel, &mut out, &mut outgoing, cx))
    });
    let at_once = at_once.await;
    if let Some(begun) = &mut begun {
        begun.sent(connection, len - outgoing.len());
    }
    if let Err(error) = at_once {
        let reason = disconnected(&error);
        if let Some(begun) = begun {
            begun.end(connection, |watch| watch.aborted(&reason));
        }
        return Err(SendFailure::Cut(reason));
    }
    let unsent = out.filled().len() == head;
    if !unsent {
        context.counters.responded(status);
    }
    if out.is_empty() {
        if outgoing.is_empty() {
            return Ok(begun.and_then(|begun| begun.into_pending(connection)));
        }
        // A connection that waits for its client holds no buffer.
        out = PooledBuffer::none();
    }
    let begun = begun.unwrap_or_else(|| BegunDelivery::new(connection, &mut outgoing, !keep));
    let options = &context.options;
    // Boxed, like all that is rare or takes its time: each request would carry this future's size
    // along.
    let sent = Box::pin(send::outgoing(connection, options, counters, out, outgoing, begun, unsent)).await;
    if unsent && !matches!(sent, Err(SendFailure::Unsent)) {
        counters.responded(status);
    }
    sent
}

/// Sends an encoded head and any body behind it, by copying.
async fn copy_body<S, B>(
    connection: &mut Connection,
    out: PooledBuffer,
    body: B,
    framing: ResponseFraming,
    context: &ThreadContext<S>,
) -> Result<(), SendFailure>
where
    B: Body<Error: std::fmt::Display>,
{
    let peer = connection.peer;
    let copied = copy::body(connection, &context.options, &context.counters, out, body, framing).await;
    copied.map_err(|failure| {
        if let CopyFailure::Body(error) = failure {
            tracing::warn!(client = %peer, error, "response cut: its body failed");
        }
        SendFailure::Cut(AbortReason::Dropped)
    })
}

/// Stands while a response leaves. Dropped before [`ResetOnDrop::disarm`], because the server stops
/// or the service's body panics, it resets the connection: closed in an orderly way, half a body up
/// to the close would look whole.
struct ResetOnDrop<'a> {
    connection: &'a mut Connection,
    is_armed: bool,
}

impl<'a> ResetOnDrop<'a> {
    fn new(connection: &'a mut Connection) -> ResetOnDrop<'a> {
        ResetOnDrop { connection, is_armed: true }
    }

    fn disarm(mut self) {
        self.is_armed = false;
    }
}

impl Drop for ResetOnDrop<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            self.connection.reset(&AbortReason::Shutdown);
        }
    }
}

fn has_close(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}
