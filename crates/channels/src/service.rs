//! What channels answer: to those who publish, who subscribe, and who ask how many do.

use std::fmt::Display;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL,
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_VERSION,
    UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request};
use http_body::Body;
use outflow_web::reply::{no_content, options, small};
use outflow_web::{Problem, ResponseBody};
use outflow_wire::upgrade::{self, Handoff};
use outflow_wire::websocket;
use serde_json::json;

use super::ask::{Ask, is_here, take_token};
use super::channel::Since;
use super::event::{Form, Id};
use super::hub::{Entry, Hub, Unpublished};
use super::limits::{Full, Who};
use super::tokens::Wish;
use super::{DATA, Settings, Subscribe};

const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, POST";
const MERCURE_METHODS: &str = "GET, HEAD, OPTIONS";
/// Says which event comes before the first one that is told: Mercure's way to tell that some are lost.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("mercure-last-event-id");

/// All channels of a server. Clones share everything.
#[derive(Clone)]
pub struct Channels(Arc<Inner>);

struct Inner {
    hub: Hub,
    settings: Settings,
}

/// In a request's extensions: the token that its address had.
#[derive(Clone)]
struct Token(String);

impl Channels {
    /// Starts the threads that keep subscribers.
    ///
    /// # Errors
    /// When the system has no thread, or no descriptor, for them.
    pub fn start(settings: Settings) -> io::Result<Channels> {
        Ok(Channels(Arc::new(Inner { hub: Hub::start(settings.clone())?, settings })))
    }

    /// Whether an address is a channel's. If so, a token in the request's address is hidden, so that nobody logs it.
    pub fn claim<B>(&self, request: &mut Request<B>) -> bool {
        let is_here = is_here(request.uri().path());
        if is_here && let Some(token) = take_token(request.uri_mut()) {
            request.extensions_mut().insert(Token(token));
        }
        is_here
    }

    /// The answer to a request for a channel from `client`.
    pub async fn answer<B>(&self, request: Request<B>, client: Option<IpAddr>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let answer = self.try_answer(request, client).await;
        let mut response =
            answer.unwrap_or_else(|problem| problem.without_link_back().respond(&method, &headers));
        self.allow_origin(&headers, response.headers_mut());
        response
    }

    async fn try_answer<B>(
        &self,
        mut request: Request<B>,
        client: Option<IpAddr>,
    ) -> Result<Response<ResponseBody>, Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let promise = upgrade::on(&mut request);
        let (head, body) = request.into_parts();
        let (method, headers) = (&head.method, &head.headers);
        let ask = Ask::of(&head.uri, headers)?;
        let methods = if ask.mercure { MERCURE_METHODS } else { METHODS };
        let token = head.extensions.get::<Token>().map(|token| token.0.as_str());
        let shake = Handshake::of(&head);
        match *method {
            Method::OPTIONS => Ok(options(methods)),
            Method::POST if !ask.mercure => {
                self.may(headers, None, Wish::Publish, &ask.name)?;
                let data = read(headers, body).await?;
                self.publish(&ask, &data).await
            }
            Method::DELETE if !ask.mercure => {
                self.may(headers, None, Wish::Publish, &ask.name)?;
                let heard = self.0.hub.end(&ask.name).map_err(refused)?;
                Ok(json(method, &json!({ "subscribers": heard })))
            }
            _ if *method == Method::GET || *method == Method::HEAD || shake == Handshake::Stream => {
                let number = match self.0.settings.subscribe {
                    Subscribe::Open => None,
                    Subscribe::Token => Some(self.may(headers, token, Wish::Subscribe, &ask.name)?),
                };
                if ask.count {
                    return Ok(json(method, &json!({ "subscribers": self.0.hub.count(&ask.name) })));
                }
                let Some(address) = client else {
                    // The engine is not ours, and would not hand the connection over.
                    let detail = "This server cannot keep subscribers: its HTTP engine does not let go of connections.";
                    return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail));
                };
                let switches = match shake {
                    Handshake::None => None,
                    Handshake::Upgrade | Handshake::Stream => Some(self.switch(shake, headers)?),
                };
                let entry = self.0.hub.enter(&ask.name, &ask.since, Who { address, token: number });
                let entry = entry.map_err(refused)?;
                if entry.start.over && shake == Handshake::Stream {
                    // Any success would be one.
                    return Err(Problem::new(StatusCode::GONE, "This channel is over."));
                }
                if entry.start.over {
                    // Whoever hears this does not come back (WHATWG HTML, 9.2.3).
                    return Ok(no_content());
                }
                match (switches, promise) {
                    (None, _) => Ok(self.events(method, &ask, entry)),
                    (Some(switches), Some(promise)) => Ok(self.frames(switches, entry, promise)),
                    (Some(_), None) => {
                        Err(Problem::bad_request("WebSocket is spoken after a request without a body."))
                    }
                }
            }
            _ => Err(Problem::method_not_allowed(methods)),
        }
    }

    /// The number of the token by which this may be done.
    fn may(&self, headers: &HeaderMap, token: Option<&str>, wish: Wish, name: &str) -> Result<u32, Problem> {
        self.0.settings.tokens.check(headers, token, wish, name)
    }

    async fn publish(&self, ask: &Ask, data: &str) -> Result<Response<ResponseBody>, Problem> {
        match self.0.hub.publish(&ask.name, ask.event.as_deref(), data).await {
            Ok((id, subscribers)) => {
                let told = json!({ "id": id.to_string(), "subscribers": subscribers });
                Ok(json(&Method::POST, &told))
            }
            Err(Unpublished::Full) => Err(refused(Full::Channels)),
            Err(Unpublished::Busy) => {
                let detail =
                    "Subscribers are still being told what was published before. Publish more slowly.";
                Err(Problem::busy(detail))
            }
        }
    }

    /// The answer to somebody who subscribes by server-sent events.
    fn events(&self, method: &Method, ask: &Ask, entry: Entry) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::empty());
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // nginx would collect what comes.
        fields.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        if ask.since != Since::Now {
            let before = Id { epoch: entry.epoch, number: entry.start.number - 1 }.to_string();
            let before = if entry.start.missed { "earliest" } else { &before };
            // Letters, digits and a hyphen.
            fields.extend(HeaderValue::from_str(before).ok().map(|value| (LAST_EVENT_ID, value)));
        }
        if *method == Method::GET {
            let hub = self.0.hub.clone();
            let handoff = Handoff::new(move |connection| hub.adopt(connection, Form::Sse, entry));
            response.extensions_mut().insert(handoff);
        }
        response
    }

    /// The answer to somebody who subscribes by WebSocket, made of the one that agrees.
    fn frames(
        &self,
        switches: Response<ResponseBody>,
        entry: Entry,
        promise: upgrade::OnUpgrade,
    ) -> Response<ResponseBody> {
        let hub = self.0.hub.clone();
        tokio::spawn(async move {
            if let Ok(connection) = promise.await {
                hub.adopt(connection, Form::WebSocket, entry);
            }
        });
        switches
    }

    /// What a client that asks for WebSocket is answered. Browsers let any page ask; which page does, they say.
    fn switch(&self, shake: Handshake, headers: &HeaderMap) -> Result<Response<ResponseBody>, Problem> {
        if let Some(origin) = headers.get(ORIGIN)
            && !self.allows(origin)
            && !is_own(origin, headers)
        {
            let detail = "Pages of this origin may not subscribe here. Whoever runs the server can allow it with --channel-origin.";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        let mut response = Response::new(ResponseBody::empty());
        if shake == Handshake::Stream {
            // There is no key, and nothing to switch (RFC 8441, 5).
            return match headers.get(SEC_WEBSOCKET_VERSION) {
                Some(version) if version == "13" => Ok(response),
                _ => Err(Problem::bad_request("Sec-WebSocket-Version has to be 13.")),
            };
        }
        let accept = websocket::accept(headers).map_err(|malformed| {
            let detail = format!("This is no WebSocket handshake: {malformed}.");
            match headers.get(SEC_WEBSOCKET_VERSION) {
                Some(version) if version == "13" => Problem::bad_request(detail),
                _ => Problem::new(StatusCode::UPGRADE_REQUIRED, detail)
                    .with_field(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            }
        })?;
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let fields = response.headers_mut();
        fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
        fields.insert(SEC_WEBSOCKET_ACCEPT, accept);
        Ok(response)
    }

    /// Whether pages of another origin may subscribe.
    fn allows(&self, origin: &HeaderValue) -> bool {
        self.0
            .settings
            .origins
            .iter()
            .any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
    }

    /// Lets a browser pass the answer on to a page of another origin (WHATWG Fetch, 3.3).
    fn allow_origin(&self, headers: &HeaderMap, fields: &mut HeaderMap) {
        let Some(origin) = headers.get(ORIGIN).filter(|origin| self.allows(origin)) else { return };
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        fields.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("DELETE, GET, POST"));
        let allowed = HeaderValue::from_static("Authorization, Last-Event-ID");
        fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        fields.append(VARY, HeaderValue::from_static("Origin"));
    }
}

/// How a request asks for WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshake {
    /// It does not.
    None,
    /// As on HTTP/1.1.
    Upgrade,
    /// As on a stream of HTTP/2.
    Stream,
}

impl Handshake {
    fn of(head: &request::Parts) -> Handshake {
        let protocol = head.extensions.get::<upgrade::ConnectProtocol>();
        match head.method {
            Method::CONNECT if protocol.is_some_and(|protocol| &*protocol.0 == "websocket") => {
                Handshake::Stream
            }
            Method::GET if websocket::is_requested(&head.headers) => Handshake::Upgrade,
            _ => Handshake::None,
        }
    }
}

/// Whether a page is from where the request goes.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let authority = origin.as_ref().and_then(Uri::authority);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    authority.zip(host).is_some_and(|(authority, host)| authority.as_str().eq_ignore_ascii_case(host))
}

/// Reads an event's data, up to a bound.
async fn read<B>(headers: &HeaderMap, body: B) -> Result<String, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let too_large = || {
        let detail = format!("An event has up to {DATA} bytes of data. Publish where the rest can be had.");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|len| len > DATA as u64) {
        return Err(too_large());
    }
    let mut body = pin!(body);
    let mut data = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame =
            frame.map_err(|error| Problem::bad_request(format!("The event did not arrive: {error}.")))?;
        if let Ok(bytes) = frame.into_data() {
            if data.len() + bytes.len() > DATA {
                return Err(too_large());
            }
            data.extend_from_slice(&bytes);
        }
    }
    String::from_utf8(data).map_err(|_| {
        Problem::bad_request("An event is text: its data has to be UTF-8. Base64 makes text of bytes.")
    })
}

/// Why somebody cannot subscribe.
fn refused(full: Full) -> Problem {
    let (status, detail) = match full {
        Full::Address => (
            StatusCode::TOO_MANY_REQUESTS,
            "There are too many subscribers from this address. Close some, or share one connection.",
        ),
        Full::Token => (
            StatusCode::TOO_MANY_REQUESTS,
            "There are too many subscribers with this token. Close some, or share one connection.",
        ),
        Full::Channel => {
            (StatusCode::SERVICE_UNAVAILABLE, "This channel has all the subscribers that it may have.")
        }
        Full::Channels => {
            (StatusCode::SERVICE_UNAVAILABLE, "This server has all the channels that it may have.")
        }
    };
    // Long enough that coming back is not worse than staying away, and not the same for all.
    let wait = super::words::between(10..60);
    Problem::new(status, detail).retry_after(u32::try_from(wait).unwrap_or(10))
}

fn json(method: &Method, value: &serde_json::Value) -> Response<ResponseBody> {
    let type_ = HeaderValue::from_static("application/json");
    let mut response = small(method, StatusCode::OK, type_, value.to_string().into_bytes());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
