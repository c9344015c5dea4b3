//! One request on one stream, and its response.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use outflow_content::{DeliveryWatch, Evidence, Outgoing};

use super::pieces::BodyPieces;
use super::sender::{PIECE, StreamOutcome, StreamSender, gone};
use super::transport::Http2Transport;
use crate::context::ThreadContext;
use crate::counters::{SendPath, ServerCounters};
use crate::extensions::{PeerAddr, ViaProxy};
use crate::message::date;
use crate::message::framing::{announced_length, may_have_body};
use crate::message::request_body::RequestBody;
use crate::service::HttpService;
use crate::tls::{Secure, TlsSession};
use crate::upgrade::{ConnectProtocol, Handoff, StreamDuplex, UpgradePromise, Upgraded};

/// The client of a connection, as its requests see it.
#[derive(Clone)]
pub(crate) struct StreamClient {
    peer: SocketAddr,
    via: Option<SocketAddr>,
    secure: Option<Secure>,
}

impl StreamClient {
    pub(crate) fn of(transport: &Http2Transport) -> StreamClient {
        transport.describe(|connection| StreamClient {
            peer: connection.peer,
            via: connection.via(),
            secure: connection.session().map(TlsSession::secure),
        })
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }
}

/// Answers one request.
pub(crate) async fn answer<S: HttpService>(
    context: Arc<ThreadContext<S>>,
    transport: Http2Transport,
    client: StreamClient,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> StreamOutcome {
    let _open = context.counters.streams.hold();
    let is_head = request.method() == Method::HEAD;
    let (request, tunnel) = match accepted(request, &client, context.options.stall_timeout) {
        Ok(accepted) => accepted,
        Err(refusal) => {
            context.counters.refused.inc();
            let (status, reason) = *refusal;
            tracing::info!(client = %client.peer, status = status.as_u16(), reason, "request refused");
            let _ = plain(&context.counters, &mut respond, status, reason, is_head);
            return StreamOutcome::Done;
        }
    };
    // The work ends when the client resets the stream.
    let answering = {
        let mut answering = pin!(context.service.answer(request));
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answering.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            respond.poll_reset(cx).map(|_| None)
        })
        .await
    };
    let response = match answering {
        None => return StreamOutcome::Reset,
        Some(Ok(response)) if !response.status().is_informational() => response,
        Some(Ok(response)) => {
            let status = response.status();
            tracing::error!(client = %client.peer, %status, "the service's final response is an interim one");
            let text = "the service gave no final response";
            let _ = plain(&context.counters, &mut respond, StatusCode::INTERNAL_SERVER_ERROR, text, is_head);
            return StreamOutcome::Done;
        }
        Some(Err(error)) => {
            tracing::error!(client = %client.peer, error, "the service failed");
            let text = "the service failed; see the server's log";
            let _ = plain(&context.counters, &mut respond, StatusCode::INTERNAL_SERVER_ERROR, text, is_head);
            return StreamOutcome::Done;
        }
    };
    if let Some((read, promise)) = tunnel.filter(|_| response.status().is_success()) {
        let duplex = |write| StreamDuplex::new(Some(read), write);
        return release(&context, response, respond, duplex, |stream| promise.keep(stream));
    }
    send(&context, &transport, &client, response, respond, is_head).await
}

/// The reading side of a `CONNECT`'s stream, and the promise of the whole to the service.
type TunnelPromise = Option<(RecvStream, UpgradePromise)>;

/// Why the engine refuses a request.
type StreamRefusal = Box<(StatusCode, &'static str)>;

/// The request as services know it from HTTP/1.1: a path in the target, the host in `Host`. The
/// target of a `CONNECT` without a protocol is an authority (RFC 9113, 8.5); with one (RFC 8441),
/// it has a path.
fn accepted(
    request: Request<RecvStream>,
    client: &StreamClient,
    stall: std::time::Duration,
) -> Result<(Request<RequestBody>, TunnelPromise), StreamRefusal> {
    let refused = |status, reason| Err(Box::new((status, reason)));
    let (mut head, body) = request.into_parts();
    if let Some(authority) = head.uri.authority() {
        if authority.as_str().contains('@') {
            return refused(StatusCode::BAD_REQUEST, "an authority that names a user");
        }
        let named = HeaderValue::from_str(authority.as_str()).ok();
        let mut hosts = head.headers.get_all(HOST).iter();
        let (host, second) = (hosts.next(), hosts.next());
        // RFC 9113, 8.3.1: they must not differ.
        let same =
            host.is_none_or(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()));
        match named {
            Some(named) if same && second.is_none() => head.headers.insert(HOST, named),
            _ => return refused(StatusCode::BAD_REQUEST, "the authority and Host differ"),
        };
    } else if head.headers.get_all(HOST).iter().count() != 1 {
        return refused(StatusCode::BAD_REQUEST, "there has to be one authority, or Host");
    }
    let is_connect = head.method == Method::CONNECT;
    let protocol = head.extensions.remove::<h2::ext::Protocol>();
    if !is_connect || protocol.is_some() {
        let target = head.uri.path_and_query().cloned();
        head.uri = target.map(Uri::from).unwrap_or_default();
        // RFC 9113, 8.3.1, and as on HTTP/1.1.
        let is_asterisk = head.method == Method::OPTIONS && head.uri.path() == "*";
        if !is_asterisk && !head.uri.path().starts_with('/') {
            return refused(StatusCode::BAD_REQUEST, "malformed request target");
        }
    }
    head.version = Version::HTTP_2;
    let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let (body, read) = if is_connect {
        (RequestBody::empty(), Some(body))
    } else {
        (RequestBody::of_stream(body, length, stall), None)
    };
    let mut request = Request::from_parts(head, body);
    let tunnel = read.map(|read| (read, UpgradePromise::put(&mut request)));
    if let Some(protocol) = protocol {
        request.extensions_mut().insert(ConnectProtocol(protocol.as_str().into()));
    }
    request.extensions_mut().insert(PeerAddr(client.peer));
    if let Some(secure) = &client.secure {
        request.extensions_mut().insert(secure.clone());
    }
    if let Some(via) = client.via {
        request.extensions_mut().insert(ViaProxy(via));
    }
    Ok((request, tunnel))
}

/// A short answer of the engine's own, to HEAD without its text.
fn plain(
    counters: &ServerCounters,
    respond: &mut SendResponse<Bytes>,
    status: StatusCode,
    text: &str,
    is_head: bool,
) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    let text = Bytes::from(format!("{status}: {text}\n"));
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    put_date(headers);
    let mut body = respond.send_response(response, is_head)?;
    counters.responded(status);
    if is_head {
        return Ok(());
    }
    // Too short to be worth following.
    body.send_data(text, true)
}

fn put_date(headers: &mut HeaderMap) {
    if !headers.contains_key(DATE)
        && let Ok(now) = date::with_date(HeaderValue::from_bytes)
    {
        headers.insert(DATE, now);
    }
}

/// Removes the fields of HTTP/1 (RFC 9113, 8.2.2), and announces the body's length.
fn prepare(headers: &mut HeaderMap, length: Option<u64>) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    match length {
        Some(length) => headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
        None => headers.remove(CONTENT_LENGTH),
    };
    put_date(headers);
}

async fn send<S: HttpService>(
    context: &Arc<ThreadContext<S>>,
    transport: &Http2Transport,
    client: &StreamClient,
    mut response: Response<S::Body>,
    mut respond: SendResponse<Bytes>,
    is_head: bool,
) -> StreamOutcome {
    if let Some(handoff) = response.extensions_mut().remove::<Handoff>()
        && response.status().is_success()
        && !is_head
    {
        let duplex = |write| StreamDuplex::new(None, write);
        return release(context, response, respond, duplex, |stream| handoff.take(stream));
    }
    let outgoing = if is_head { None } else { Outgoing::take(&mut response) };
    let Some(mut outgoing) = outgoing else {
        return copy(context, transport, client, response, respond, is_head).await;
    };
    let length = outgoing.len();
    let mut watch = outgoing.watch();
    watch.started();
    let (watched, mut early) = (watch.is_observed(), UnsentDelivery { watch: Some(watch), transport });
    let mut pieces = BodyPieces::new(outgoing);
    // The first bytes are obtained before the head leaves: until they are there, another answer can
    // be given.
    let first = {
        let mut first = pin!(pieces.next(PIECE));
        poll_fn(|cx| match first.as_mut().poll(cx) {
            Poll::Ready(first) => Poll::Ready(Ok(first)),
            // A stream that the client has reset needs no bytes.
            Poll::Pending => respond.poll_reset(cx).map(Err),
        })
        .await
    };
    let first = match first {
        Ok(Ok(first)) => first,
        Err(reset) => {
            early.end(|watch| watch.aborted(&gone(reset.ok())));
            return StreamOutcome::Reset;
        }
        Ok(Err(error)) => {
            tracing::debug!(client = %client.peer, %error, "content failed before its first byte");
            early.end(|watch| watch.failed(&error));
            let text = "the file cannot be read; see the server's log";
            let _ = plain(&context.counters, &mut respond, StatusCode::INTERNAL_SERVER_ERROR, text, false);
            return StreamOutcome::Done;
        }
    };
    let head = response.map(|_| ());
    let (mut head, ()) = head.into_parts();
    prepare(&mut head.headers, Some(length));
    let Some(first) = first else {
        early.end(|watch| watch.completed(Evidence::Sent));
        context.counters.responded(head.status);
        let _ = respond.send_response(Response::from_parts(head, ()), true);
        return StreamOutcome::Done;
    };
    // Deliveries acknowledged meanwhile may free a permit for this one.
    let permit = match watched {
        true => {
            let mut acquiring = pin!(transport.delivery_permit());
            let acquired = poll_fn(|cx| match acquiring.as_mut().poll(cx) {
                Poll::Ready(permit) => Poll::Ready(Ok(permit)),
                Poll::Pending => respond.poll_reset(cx).map(Err),
            });
            match acquired.await {
                Ok(permit) => permit,
                Err(reset) => {
                    early.end(|watch| watch.aborted(&gone(reset.ok())));
                    return StreamOutcome::Reset;
                }
            }
        }
        false => None,
    };
    context.counters.responded(head.status);
    let body = match respond.send_response(Response::from_parts(head, ()), false) {
        Ok(body) => body,
        Err(_) => {
            early.end(|watch| watch.aborted(&gone(None)));
            return StreamOutcome::Reset;
        }
    };
    let watched = early.watch.take().map(|watch| (watch, permit));
    let mut sender = StreamSender::new(context, transport, body, watched);
    let copied = context.counters.body.of(SendPath::Copy);
    let sent = sender.pieces(&mut pieces, first, length, |n| copied.add(n)).await;
    sender.end(sent)
}

/// Sends a body that is not made of spans.
async fn copy<S: HttpService>(
    context: &Arc<ThreadContext<S>>,
    transport: &Http2Transport,
    client: &StreamClient,
    response: Response<S::Body>,
    mut respond: SendResponse<Bytes>,
    is_head: bool,
) -> StreamOutcome {
    let status = response.status();
    let length = announced_length(&response, is_head);
    let (mut head, body) = response.into_parts();
    prepare(&mut head.headers, length);
    // A body that announces no bytes is polled all the same, unless it is at its end: it may break
    // its word.
    let empty = length.is_none_or(|length| length == 0) && body.is_end_stream();
    let without = is_head || !may_have_body(status) || empty;
    context.counters.responded(status);
    let Ok(writer) = respond.send_response(Response::from_parts(head, ()), without) else {
        return StreamOutcome::Reset;
    };
    if without {
        return StreamOutcome::Done;
    }
    let mut sender = StreamSender::new(context, transport, writer, None);
    let copied = context.counters.body.of(SendPath::Copy);
    let sent = sender.frames(pin!(body), length, client.peer, |n| copied.add(n)).await;
    sender.end(sent)
}

/// Gives the stream to the service.
fn release<S: HttpService>(
    context: &Arc<ThreadContext<S>>,
    response: Response<S::Body>,
    mut respond: SendResponse<Bytes>,
    duplex: impl FnOnce(SendStream<Bytes>) -> StreamDuplex,
    give: impl FnOnce(Upgraded),
) -> StreamOutcome {
    let (mut head, _) = response.into_parts();
    prepare(&mut head.headers, None);
    context.counters.responded(head.status);
    if let Ok(write) = respond.send_response(Response::from_parts(head, ()), false) {
        give(Upgraded::of_stream(duplex(write), context.ending.subscribe()));
    }
    StreamOutcome::Done
}

/// A delivery before its first byte.
struct UnsentDelivery<'a> {
    watch: Option<DeliveryWatch>,
    transport: &'a Http2Transport,
}

impl UnsentDelivery<'_> {
    fn end(&mut self, report: impl FnOnce(DeliveryWatch)) {
        if let Some(watch) = self.watch.take() {
            report(watch);
        }
    }
}

/// Dropped there: the connection is gone.
impl Drop for UnsentDelivery<'_> {
    fn drop(&mut self) {
        let transport = self.transport;
        self.end(|watch| watch.aborted(&transport.abandon_reason()));
    }
}
