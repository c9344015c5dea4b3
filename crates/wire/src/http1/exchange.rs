//! One connection's life: wait, read a head, call the service, send what it answers, wait again.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body::Body;
use outflow_content::{AbortReason, FieldLines, Outgoing};
use tokio::sync::futures::Notified;

use crate::connection::buffer::Buffer;
use crate::connection::{Connection, Farewell};
use crate::delivery::{Tail, disconnected};
use crate::http1::encode::{self, BodyFraming, Persistence};
use crate::http1::head::{self, Framing, Head, Refusal};
use crate::http2;
use crate::listen::Shared;
use crate::listen::proxy;
use crate::listen::proxy::ViaProxy;
use crate::message::request_body::{BodyHandle, RequestBody};
use crate::send::{self, copy};
use crate::service::{HttpService, PeerAddr};
use crate::tls::{Protocol, Tls};
use crate::upgrade::{Handoff, Promise, Upgraded};

/// Serves one connection to its end.
///
/// While it rests, the future is the connection, a place in the list of those that are woken now and then,
/// and nothing else: all that a request needs lives in a boxed future of its own. This is one block and no
/// `async fn` of several, because each of these would keep its arguments twice. Measured: `bench/README.md`.
#[allow(clippy::manual_async_fn)]
pub(crate) fn serve<S: HttpService>(
    mut connection: Connection,
    tls: Option<Arc<Tls>>,
    shared: Arc<Shared<S>>,
) -> impl Future<Output = ()> + Send {
    async move {
        if shared.options.is_proxy(connection.peer.ip())
            && !Box::pin(proxy::accept(&mut connection, &shared.options)).await
        {
            return;
        }
        let protocol = match tls {
            Some(tls) => Box::pin(tls.accept(&mut connection, &shared)).await,
            None => Protocol::Http1,
        };
        match protocol {
            Protocol::Http1 if shared.options.http2_cleartext && connection.session().is_none() => {
                let Some((is_http2, read)) = Box::pin(http2::sniff(&mut connection, &shared)).await else {
                    return;
                };
                if is_http2 {
                    return Box::pin(http2::serve(connection, read, &shared)).await;
                }
                connection.timer().set(shared.options.keep_alive_timeout);
                match Box::pin(busy(connection, read, &shared)).await {
                    Some(kept) => connection = kept,
                    None => return,
                }
            }
            Protocol::Http1 => {}
            Protocol::Http2 => return Box::pin(http2::serve(connection, Buffer::none(), &shared)).await,
            Protocol::Clear => {
                let refusal = Refusal::new(StatusCode::BAD_REQUEST, "this port speaks TLS: use https://");
                return Box::pin(refuse(connection, &shared, &refusal)).await;
            }
            Protocol::None => return,
        }
        loop {
            connection.rest();
            // It is looked after small deliveries as often as the clock ticks, after large ones more often.
            let notify = if connection.has_tails() { &shared.ticked } else { &shared.swept };
            let mut notified = pin!(notify.notified());
            match wait(&mut connection, &shared, notified.as_mut()).await {
                Woken::Readable => {}
                Woken::Closing => return Box::pin(connection.finish(&shared.options, Farewell::Idle)).await,
                _ if connection.has_tails() => {
                    if let Err(reason) = connection.look(&shared.options) {
                        return connection.cut(&reason);
                    }
                    continue;
                }
                _ if connection.timer().is_past() => {
                    // Within TLS, silence would look like an attacker's end (RFC 8446, 6.1).
                    if connection.session().is_some() {
                        Box::pin(connection.finish(&shared.options, Farewell::Idle)).await;
                    }
                    return;
                }
                _ => continue,
            }
            match Box::pin(busy(connection, Buffer::borrow(), &shared)).await {
                Some(kept) => connection = kept,
                None => return,
            }
        }
    }
}

/// What a connection without a request was woken for.
enum Woken {
    /// There is something to read, or an error to be found by reading.
    Readable,
    /// The server drains.
    Closing,
    /// The clock ticked.
    Notified,
    /// It is time to look what has become of the last deliveries.
    Look,
}

/// Waits for a request, for `notified`, and for the time to look after deliveries.
async fn wait<S>(
    connection: &mut Connection,
    shared: &Shared<S>,
    mut notified: Pin<&mut Notified<'_>>,
) -> Woken {
    // Registered before the flag is looked at, so that no notification falls between the two.
    notified.as_mut().enable();
    if shared.is_draining() {
        return Woken::Closing;
    }
    poll_fn(|cx| {
        if notified.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Woken::Notified);
        }
        if connection.poll_readable(cx).is_ready() {
            return Poll::Ready(Woken::Readable);
        }
        connection.poll_look(cx, false).map(|()| Woken::Look)
    })
    .await
}

/// After so many requests a connection counts as a busy one.
pub(crate) const BUSY_FROM: u32 = 8;

/// Serves requests as long as they come. The connection when it falls idle, `None` when it has ended.
///
/// The next request of a busy connection follows within milliseconds: getting this future's memory anew for
/// each would cost more than keeping it until the clock has ticked twice. Most connections make one request
/// or two and then rest: these give it back at once.
async fn busy<S: HttpService>(
    mut connection: Connection,
    mut buffer: Buffer,
    shared: &Shared<S>,
) -> Option<Connection> {
    // One place among those that wait for the clock, from one request to the next: to take a new one each time touches the
    // memory of two other connections.
    let mut notified = pin!(shared.ticked.notified());
    'requests: loop {
        loop {
            match read_head(&mut connection, &mut buffer, shared).await {
                Reading::Usual { len, is_head, lines } => {
                    buffer.consume(len);
                    shared.counters.add_request();
                    connection.served = connection.served.saturating_add(1);
                    connection.heard(&shared.options);
                    let keep = !shared.is_draining();
                    match usual(&mut connection, &mut buffer, is_head, &lines, keep, shared).await {
                        Ok(()) if keep => {}
                        Ok(()) => {
                            Box::pin(end(connection, None, true, None, shared)).await;
                            return None;
                        }
                        Err(reason) => {
                            connection.cut(&reason);
                            return None;
                        }
                    }
                    if buffer.is_empty() {
                        break;
                    }
                }
                Reading::Complete(head) => {
                    buffer.consume(head.len);
                    shared.counters.add_request();
                    connection.served = connection.served.saturating_add(1);
                    connection.heard(&shared.options);
                    (connection, buffer) = exchange(connection, buffer, *head, shared).await?;
                    if buffer.is_empty() {
                        break;
                    }
                }
                Reading::Nothing => break,
                Reading::Ended => {
                    connection.ended(&shared.options);
                    connection.finish(&shared.options, Farewell::Over).await;
                    return None;
                }
                Reading::Slow => {
                    connection.finish(&shared.options, Farewell::Idle).await;
                    return None;
                }
                Reading::Broken(error) => {
                    connection.lose(&disconnected(&error));
                    return None;
                }
                Reading::Refused(refusal) => {
                    refuse(connection, shared, &refusal).await;
                    return None;
                }
            }
        }
        drop(buffer);
        connection.timer().set(shared.options.keep_alive_timeout);
        let mut ticks = if connection.served < BUSY_FROM { 2 } else { 0 };
        while ticks < 2 {
            match wait(&mut connection, shared, notified.as_mut()).await {
                Woken::Readable => {
                    buffer = Buffer::borrow();
                    continue 'requests;
                }
                Woken::Closing => {
                    connection.finish(&shared.options, Farewell::Idle).await;
                    return None;
                }
                Woken::Notified => {
                    ticks += 1;
                    notified.set(shared.ticked.notified());
                }
                Woken::Look => {}
            }
            if let Err(reason) = connection.look(&shared.options) {
                connection.cut(&reason);
                return None;
            }
        }
        return Some(connection);
    }
}

enum Reading {
    Complete(Box<Head>),
    /// A plain head of `len` bytes, whose answer is written already.
    Usual {
        len: usize,
        is_head: bool,
        lines: FieldLines,
    },
    /// The socket looked readable and was not.
    Nothing,
    /// The client has ended its side.
    Ended,
    /// Nothing came for too long.
    Slow,
    Broken(io::Error),
    Refused(Refusal),
}

async fn read_head<S: HttpService>(
    connection: &mut Connection,
    buffer: &mut Buffer,
    shared: &Shared<S>,
) -> Reading {
    let limit = shared.options.max_head_bytes;
    let too_large = Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "request head too large");
    let mut begun = false;
    // Only a line's end can complete a head: a head that trickles in is not parsed for every byte.
    let mut parse = !buffer.is_empty();
    loop {
        if parse {
            if S::HAS_USUAL
                && connection.is_plain()
                && let Some(plain) = head::plain(buffer.filled()).filter(|plain| plain.len <= limit)
                && let Some(lines) = shared.service.usual(plain.target)
            {
                return Reading::Usual { len: plain.len, is_head: plain.is_head, lines };
            }
            match head::parse(buffer.filled()) {
                Ok(Some(head)) if head.len > limit => return Reading::Refused(too_large),
                Ok(Some(head)) => return Reading::Complete(Box::new(head)),
                Ok(None) => {}
                Err(refusal) => return Reading::Refused(refusal),
            }
        }
        if !begun && !buffer.is_empty() {
            begun = true;
            connection.timer().set(shared.options.head_timeout);
        }
        if buffer.filled().len() >= limit || (buffer.room() == 0 && !buffer.grow(limit)) {
            return Reading::Refused(too_large);
        }
        let before = buffer.filled().len();
        match connection.read_some(buffer).await {
            Ok(0) => return Reading::Ended,
            Ok(_) => parse = before == 0 || buffer.filled()[before..].contains(&b'\n'),
            Err(error) if error.kind() == io::ErrorKind::TimedOut && begun => {
                return Reading::Refused(Refusal::new(StatusCode::REQUEST_TIMEOUT, "request head too slow"));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Reading::Nothing,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Reading::Slow,
            Err(error) => return Reading::Broken(error),
        }
    }
}

/// Answers what the engine itself refuses, and ends the connection.
async fn refuse<S>(mut connection: Connection, shared: &Shared<S>, refusal: &Refusal) {
    shared.counters.add_refused();
    tracing::info!(client = %connection.peer, status = refusal.status.as_u16(), reason = refusal.reason, "request refused");
    let text = format!("{}: {}\n", refusal.status, refusal.reason);
    if plain(&mut connection, shared, refusal.status, &text, true).await.is_ok() {
        connection.finish(&shared.options, Farewell::Linger).await;
    }
}

/// Sends a short answer of the engine's own, to HEAD without its text; the connection closes behind it.
async fn plain<S>(
    connection: &mut Connection,
    shared: &Shared<S>,
    status: StatusCode,
    text: &str,
    with_text: bool,
) -> io::Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    let mut out = Buffer::borrow();
    encode::head(&mut out, status, &headers, BodyFraming::Length(text.len() as u64), Persistence::Close);
    if with_text {
        out.push(text.as_bytes());
    }
    connection.timer().set(shared.options.stall_timeout);
    while !out.is_empty() {
        let n = connection.send(out.filled(), false).await?;
        out.consume(n);
    }
    Ok(())
}

/// One request and its response. Gives back what goes on: the connection, and what was read beyond.
async fn exchange<S: HttpService>(
    mut connection: Connection,
    mut buffer: Buffer,
    head: Head,
    shared: &Shared<S>,
) -> Option<(Connection, Buffer)> {
    let Head { request, framing, keep_alive, expect_continue, upgrade, .. } = head;
    let version = request.version();
    let is_head = request.method() == Method::HEAD;
    let is_connect = request.method() == Method::CONNECT;

    let mut handle = None;
    let body = match framing {
        Framing::Length(0) => RequestBody::empty(),
        _ => {
            let read = connection.take_read()?;
            let rest = std::mem::replace(&mut buffer, Buffer::none());
            let stall = shared.options.stall_timeout;
            let (body, its_handle) = RequestBody::new(read, rest, framing, expect_continue, stall);
            handle = Some(its_handle);
            body
        }
    };
    if buffer.is_empty() {
        // Back to the pool while the service works and the body leaves.
        buffer = Buffer::none();
    }
    let mut request = request.map(|()| body);
    request.extensions_mut().insert(PeerAddr(connection.peer));
    if let Some(session) = connection.session() {
        request.extensions_mut().insert(session.secure());
    }
    if let Some(via) = connection.via() {
        request.extensions_mut().insert(ViaProxy(via));
    }
    let promise = ((upgrade || is_connect) && handle.is_none()).then(|| Promise::put(&mut request));

    let answer = shared.service.answer(request).await;
    let mut response = match answer {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(client = %connection.peer, error, "the service failed");
            let text = "500 Internal Server Error: the service failed; see the server's log\n";
            let sent =
                Box::pin(plain(&mut connection, shared, StatusCode::INTERNAL_SERVER_ERROR, text, !is_head))
                    .await;
            return Box::pin(end(connection, handle, sent.is_ok(), None, shared)).await;
        }
    };

    let status = response.status();
    let switches = status == StatusCode::SWITCHING_PROTOCOLS || (is_connect && status.is_success());
    if let (true, Some(promise)) = (switches, promise) {
        let headers = response.headers();
        let raw = Box::pin(release(connection, shared, buffer, |out| {
            encode::head(out, status, headers, BodyFraming::None, Persistence::Keep(version));
        }));
        promise.keep(raw.await?);
        return None;
    }

    if status.is_informational() {
        tracing::error!(client = %connection.peer, %status, "the service's final response is an interim one");
        let text = "500 Internal Server Error: the service gave no final response; see the server's log\n";
        let sent =
            Box::pin(plain(&mut connection, shared, StatusCode::INTERNAL_SERVER_ERROR, text, !is_head)).await;
        return Box::pin(end(connection, handle, sent.is_ok(), None, shared)).await;
    }

    if let Some(handoff) = response.extensions_mut().remove::<Handoff>()
        && status.is_success()
        && !is_head
    {
        if let Some(handle) = handle.take() {
            connection.wrote(handle.response_begins());
            match handle.finish() {
                Some((read, Some(rest))) => {
                    connection.put_read(read);
                    buffer = rest;
                }
                // Nobody can take over what still has a request's body in it.
                _ => return None,
            }
        }
        let (framing, headers) = (BodyFraming::UntilClose, response.headers());
        let raw = Box::pin(release(connection, shared, buffer, |out| {
            encode::head(out, status, headers, framing, Persistence::Close);
        }));
        handoff.take(raw.await?);
        return None;
    }

    let written = FieldLines::take(&mut response);
    let outgoing = match &written {
        _ if is_head => None,
        Some(written) => Some(written.outgoing()),
        None => Outgoing::take(&mut response),
    };
    let body_framing = match (&outgoing, &written) {
        (Some(outgoing), _) => BodyFraming::Length(outgoing.len()),
        (None, Some(written)) => BodyFraming::Length(written.len()),
        (None, None) => body_framing(&response, version, is_head),
    };
    let keep = keep_alive
        && handle.as_ref().is_none_or(BodyHandle::is_done)
        && !shared.is_draining()
        && body_framing != BodyFraming::UntilClose
        && !says_close(response.headers());
    let persistence = if keep { Persistence::Keep(version) } else { Persistence::Close };

    let mut out = Buffer::borrow();
    let lines = written.as_ref().map_or(&[][..], FieldLines::as_bytes);
    encode::head_with(&mut out, status, lines, response.headers(), body_framing, persistence);

    if let Some(handle) = &handle {
        let written = handle.response_begins();
        connection.wrote(written);
    }

    let peer = connection.peer;
    let midway = Midway(&mut connection);
    let sent = match outgoing {
        Some(outgoing) => deliver(midway.0, out, outgoing, keep, shared).await,
        None => {
            let framing = if is_head || !may_have_body(status) { BodyFraming::None } else { body_framing };
            let body = response.into_body();
            Box::pin(copy::body(midway.0, &shared.options, &shared.counters, out, body, framing))
                .await
                .map(|()| None)
                .map_err(|failure| {
                    if let copy::Failure::Body(error) = failure {
                        tracing::warn!(client = %peer, error, "response cut: its body failed");
                    }
                    send::Failure::Cut(AbortReason::Dropped)
                })
        }
    };
    midway.passed();
    match sent {
        Ok(tail) if keep => {
            if let Some(handle) = handle {
                match handle.finish() {
                    Some((read, Some(rest))) => {
                        connection.put_read(read);
                        buffer = rest;
                    }
                    // The service still holds the request's body, and will not read it.
                    _ => return Box::pin(end(connection, None, true, tail, shared)).await,
                }
            }
            if let Some(tail) = tail {
                let added = connection.add_tail(tail, buffer.is_empty(), &shared.options).await;
                if let Err(reason) = added {
                    connection.cut(&reason);
                    return None;
                }
            }
            Some((connection, buffer))
        }
        Ok(tail) => Box::pin(end(connection, handle, true, tail, shared)).await,
        Err(send::Failure::Unsent) => {
            let text = "500 Internal Server Error: the file cannot be read; see the server's log\n";
            let sent =
                Box::pin(plain(&mut connection, shared, StatusCode::INTERNAL_SERVER_ERROR, text, true)).await;
            Box::pin(end(connection, handle, sent.is_ok(), None, shared)).await
        }
        Err(send::Failure::Cut(reason)) => {
            connection.cut(&reason);
            None
        }
    }
}

/// Answers a request that needs no more than what is written already.
async fn usual<S>(
    connection: &mut Connection,
    buffer: &mut Buffer,
    is_head: bool,
    lines: &FieldLines,
    keep: bool,
    shared: &Shared<S>,
) -> Result<(), AbortReason> {
    let persistence = if keep { Persistence::Keep(Version::HTTP_11) } else { Persistence::Close };
    // What was read beyond stays; most often that is nothing, and the answer takes the buffer's place.
    let mut out =
        if buffer.is_empty() { std::mem::replace(buffer, Buffer::none()) } else { Buffer::borrow() };
    let (length, none) = (BodyFraming::Length(lines.len()), HeaderMap::new());
    encode::head_with(&mut out, StatusCode::OK, lines.as_bytes(), &none, length, persistence);
    let outgoing = if is_head { Outgoing::empty() } else { lines.outgoing() };
    let midway = Midway(connection);
    let sent = deliver(midway.0, out, outgoing, keep, shared).await;
    midway.passed();
    match sent {
        Ok(_) => Ok(()),
        Err(send::Failure::Cut(reason)) => Err(reason),
        // Another answer could be given, but there is none: what is in memory does not fail.
        Err(send::Failure::Unsent) => Err(AbortReason::Dropped),
    }
}

/// Sends an encoded head and the body behind it: most often at once.
async fn deliver<S>(
    connection: &mut Connection,
    mut out: Buffer,
    mut outgoing: Outgoing,
    keep: bool,
    shared: &Shared<S>,
) -> Result<Option<Tail>, send::Failure> {
    let head = out.filled().len();
    let at_once = poll_fn(|cx| {
        Poll::Ready(send::poll_at_once(connection, &shared.counters, &mut out, &mut outgoing, cx))
    });
    if let Err(error) = at_once.await {
        return Err(send::Failure::Cut(disconnected(&error)));
    }
    let unsent = out.filled().len() == head;
    if out.is_empty() {
        if outgoing.is_empty() {
            return Ok(None);
        }
        // Who waits for the client holds no buffer.
        out = Buffer::none();
    }
    let (options, counters) = (&shared.options, &shared.counters);
    // Boxed, like all that is rare or takes its time: each request would carry these futures' size along.
    Box::pin(send::outgoing(connection, options, counters, out, outgoing, unsent, !keep)).await
}

/// Sends the last head of a connection that stops being HTTP, and lets go of it.
async fn release<S>(
    mut connection: Connection,
    shared: &Shared<S>,
    buffered: Buffer,
    head: impl FnOnce(&mut Buffer),
) -> Option<Upgraded> {
    // What was asked for before still belongs to HTTP: it is settled first.
    if let Err(reason) = connection.at_most(0, &shared.options).await {
        connection.cut(&reason);
        return None;
    }
    let mut out = Buffer::borrow();
    head(&mut out);
    connection.timer().set(shared.options.stall_timeout);
    while !out.is_empty() {
        let n = connection.send(out.filled(), false).await.ok()?;
        out.consume(n);
    }
    Some(Upgraded::new(connection.into_raw()?, buffered, shared.ending.subscribe()))
}

/// Stands while a response leaves. Dropped there, because the server stops or the service's body panics, it
/// cuts the connection: closed in an orderly way, half a body up to the close would look whole.
struct Midway<'a>(&'a mut Connection);

impl Midway<'_> {
    fn passed(self) {
        std::mem::forget(self);
    }
}

impl Drop for Midway<'_> {
    fn drop(&mut self) {
        self.0.cut(&AbortReason::Shutdown);
    }
}

/// Ends a connection behind a response: in an orderly way, and without an RST if the client may still be
/// sending the body that nobody wanted. The delivery that the response was, if it was one, is waited for.
async fn end<S>(
    mut connection: Connection,
    handle: Option<BodyHandle>,
    sent: bool,
    tail: Option<Tail>,
    shared: &Shared<S>,
) -> Option<(Connection, Buffer)> {
    let returned = handle.and_then(BodyHandle::finish).map(|(read, _)| read);
    if let Some(read) = returned {
        connection.put_read(read);
    }
    if let Some(tail) = tail
        && let Err(reason) = connection.add_tail(tail, true, &shared.options).await
    {
        connection.cut(&reason);
        return None;
    }
    if sent {
        connection.finish(&shared.options, Farewell::Linger).await;
    }
    None
}

/// RFC 9110 section 6.4.1: what has a body, if the request is not HEAD.
pub(crate) fn may_have_body(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// The length that a response without HTTP/1's framings announces.
pub(crate) fn body_length<B: Body>(response: &Response<B>, is_head: bool) -> Option<u64> {
    match body_framing(response, Version::HTTP_2, is_head) {
        BodyFraming::Length(length) => Some(length),
        BodyFraming::None | BodyFraming::Chunked | BodyFraming::UntilClose => None,
    }
}

fn body_framing<B: Body>(response: &Response<B>, version: Version, is_head: bool) -> BodyFraming {
    let announced = || response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    let exact = response.body().size_hint().exact();
    let status = response.status();
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        BodyFraming::None
    } else if is_head || status == StatusCode::NOT_MODIFIED {
        // What a GET would say, and nothing rather than the zero of the empty body that came with it.
        announced().or(exact.filter(|length| *length > 0)).map_or(BodyFraming::None, BodyFraming::Length)
    } else if let Some(length) = announced().or(exact) {
        BodyFraming::Length(length)
    } else if version == Version::HTTP_10 {
        BodyFraming::UntilClose
    } else {
        BodyFraming::Chunked
    }
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}
