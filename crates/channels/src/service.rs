//! The HTTP interface of channels: publishing, subscribing, and counting subscribers.

use std::fmt::Display;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL,
    CONNECTION, CONTENT_LENGTH, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_VERSION, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request};
use http_body::Body;
use outflow_texts::{Language, text};
use outflow_web::reply::{no_content, options, small};
use outflow_web::sse::{self, random_in};
use outflow_web::{Problem, ResponseBody};
use outflow_wire::upgrade::{self, Handoff};
use outflow_wire::websocket;
use serde_json::json;

use crate::channel::event::{EventId, MAX_DATA, StreamFormat};
use crate::channel::limits::{Admission, LimitReached, SubscriberOrigin};
use crate::channel::log::StartFrom;
use crate::hub::{Hub, PublishError};
use crate::request::{ChannelRequest, is_channel_path, take_token};
use crate::settings::{ChannelSettings, SubscribePolicy};
use crate::tokens::ChannelAction;

const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, POST";
const MERCURE_METHODS: &str = "GET, HEAD, OPTIONS";
/// Names the event before the first one that is sent: Mercure's way to say that events were missed.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("mercure-last-event-id");

/// All channels of a server. Clones share everything.
#[derive(Clone)]
pub struct Channels(Arc<ChannelsState>);

struct ChannelsState {
    hub: Hub,
    settings: ChannelSettings,
}

/// Request extension: the token that the address contained.
#[derive(Clone)]
struct QueryToken(String);

impl Channels {
    /// Starts the threads that serve subscribers.
    ///
    /// # Errors
    /// When the system cannot provide threads or descriptors.
    pub fn start(settings: ChannelSettings) -> io::Result<Channels> {
        Ok(Channels(Arc::new(ChannelsState { hub: Hub::start(settings.clone())?, settings })))
    }

    /// Whether the request is for a channel. If so, a token in its address moves to an extension,
    /// so that no log contains it.
    pub fn claim<B>(&self, request: &mut Request<B>) -> bool {
        let is_channel = is_channel_path(request.uri().path());
        if is_channel && let Some(token) = take_token(request.uri_mut()) {
            request.extensions_mut().insert(QueryToken(token));
        }
        is_channel
    }

    /// Answers a request for a channel. `client` is the client's address; without it, subscribing
    /// fails with 501.
    pub async fn answer<B>(
        &self,
        request: Request<B>,
        client: Option<IpAddr>,
        language: Language,
    ) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let answer = self.try_answer(request, client).await;
        let mut response =
            answer.unwrap_or_else(|problem| problem.without_link_back().respond(&method, &headers, language));
        self.allow_origin(&headers, response.headers_mut());
        response
    }

    async fn try_answer<B>(
        &self,
        mut http_request: Request<B>,
        client: Option<IpAddr>,
    ) -> Result<Response<ResponseBody>, Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let promise = upgrade::on(&mut http_request);
        let (head, body) = http_request.into_parts();
        let (method, headers) = (&head.method, &head.headers);
        let request = ChannelRequest::parse(&head.uri, headers)?;
        let methods = if request.mercure { MERCURE_METHODS } else { METHODS };
        let token = head.extensions.get::<QueryToken>().map(|token| token.0.as_str());
        let handshake = WebSocketHandshake::of(&head);
        match *method {
            Method::OPTIONS => Ok(options(methods)),
            Method::POST if !request.mercure => {
                self.authorize(headers, None, ChannelAction::Publish, &request.name)?;
                let data = read_data(headers, body).await?;
                self.publish(&request, &data).await
            }
            Method::DELETE if !request.mercure => {
                self.authorize(headers, None, ChannelAction::Publish, &request.name)?;
                let subscribers = self.0.hub.end(&request.name).map_err(limit_problem)?;
                Ok(json(method, &json!({ "subscribers": subscribers })))
            }
            _ if *method == Method::GET
                || *method == Method::HEAD
                || handshake == WebSocketHandshake::Stream =>
            {
                let number = match self.0.settings.subscribe {
                    SubscribePolicy::Open => None,
                    SubscribePolicy::Token => {
                        Some(self.authorize(headers, token, ChannelAction::Subscribe, &request.name)?)
                    }
                };
                if request.count {
                    return Ok(json(method, &json!({ "subscribers": self.0.hub.count(&request.name) })));
                }
                let Some(address) = client else {
                    // Another HTTP engine, which does not hand over connections.
                    return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, text!(channel_needs_engine)));
                };
                let accepted = match handshake {
                    WebSocketHandshake::None => None,
                    WebSocketHandshake::Upgrade | WebSocketHandshake::Stream => {
                        Some(self.accept(handshake, headers)?)
                    }
                };
                let origin = SubscriberOrigin { address, token: number };
                let admission =
                    self.0.hub.admit(&request.name, &request.from, origin).map_err(limit_problem)?;
                if admission.start.over && handshake == WebSocketHandshake::Stream {
                    // Any 2xx would accept the handshake.
                    return Err(Problem::new(StatusCode::GONE, text!(channel_ended)));
                }
                if admission.start.over {
                    return Ok(no_content());
                }
                match (accepted, promise) {
                    (None, _) => Ok(self.stream_events(method, &request, admission)),
                    (Some(accepted), Some(promise)) => Ok(self.stream_frames(accepted, admission, promise)),
                    (Some(_), None) => Err(Problem::bad_request(text!(websocket_with_body))),
                }
            }
            _ => Err(Problem::method_not_allowed(methods)),
        }
    }

    /// The number of the token that permits `action`.
    fn authorize(
        &self,
        headers: &HeaderMap,
        token: Option<&str>,
        action: ChannelAction,
        name: &str,
    ) -> Result<u32, Problem> {
        self.0.settings.tokens.check(headers, token, action, name)
    }

    async fn publish(&self, request: &ChannelRequest, data: &str) -> Result<Response<ResponseBody>, Problem> {
        match self.0.hub.publish(&request.name, request.event.as_deref(), data).await {
            Ok((id, subscribers)) => {
                let published = json!({ "id": id.to_string(), "subscribers": subscribers });
                Ok(json(&Method::POST, &published))
            }
            Err(PublishError::TooManyChannels) => Err(limit_problem(LimitReached::Channels)),
            Err(PublishError::Busy) => Err(Problem::busy(text!(channel_busy))),
        }
    }

    /// The response to a subscriber by server-sent events.
    fn stream_events(
        &self,
        method: &Method,
        request: &ChannelRequest,
        admission: Admission,
    ) -> Response<ResponseBody> {
        let mut response = sse::response();
        if request.from != StartFrom::Now {
            let before = EventId { epoch: admission.epoch, number: admission.start.number - 1 }.to_string();
            let before = if admission.start.missed { "earliest" } else { &before };
            // Letters, digits and a hyphen are always a field value.
            response
                .headers_mut()
                .extend(HeaderValue::from_str(before).ok().map(|value| (LAST_EVENT_ID, value)));
        }
        if *method == Method::GET {
            let hub = self.0.hub.clone();
            let handoff = Handoff::new(move |connection| hub.serve(connection, StreamFormat::Sse, admission));
            response.extensions_mut().insert(handoff);
        }
        response
    }

    /// The response to a subscriber by WebSocket: `accepted`, after which the connection carries
    /// frames.
    fn stream_frames(
        &self,
        accepted: Response<ResponseBody>,
        admission: Admission,
        promise: upgrade::OnUpgrade,
    ) -> Response<ResponseBody> {
        let hub = self.0.hub.clone();
        tokio::spawn(async move {
            if let Ok(connection) = promise.await {
                hub.serve(connection, StreamFormat::WebSocket, admission);
            }
        });
        accepted
    }

    /// Accepts a WebSocket handshake. Browsers let pages of any origin send one, so the origin is
    /// checked here.
    fn accept(
        &self,
        handshake: WebSocketHandshake,
        headers: &HeaderMap,
    ) -> Result<Response<ResponseBody>, Problem> {
        if let Some(origin) = headers.get(ORIGIN)
            && !self.allows(origin)
            && !is_same_origin(origin, headers)
        {
            return Err(Problem::new(StatusCode::FORBIDDEN, text!(channel_origin_refused)));
        }
        let mut response = Response::new(ResponseBody::empty());
        if handshake == WebSocketHandshake::Stream {
            // No key and no 101 on a stream (RFC 8441, section 5).
            return match headers.get(SEC_WEBSOCKET_VERSION) {
                Some(version) if version == "13" => Ok(response),
                _ => Err(Problem::bad_request(text!(websocket_version))),
            };
        }
        let accept = websocket::accept(headers).map_err(|malformed| {
            let detail = text!(websocket_malformed, error = %malformed);
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

    /// Lets a browser pass the response to a page of another origin (CORS; WHATWG Fetch, section
    /// 3.3).
    fn allow_origin(&self, headers: &HeaderMap, fields: &mut HeaderMap) {
        let Some(origin) = headers.get(ORIGIN).filter(|origin| self.allows(origin)) else { return };
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        fields.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("DELETE, GET, POST"));
        let allowed = HeaderValue::from_static("Authorization, Last-Event-ID");
        fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        fields.append(VARY, HeaderValue::from_static("Origin"));
    }
}

/// How a request asks for WebSocket, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WebSocketHandshake {
    None,
    /// An HTTP/1.1 upgrade.
    Upgrade,
    /// Extended CONNECT on an HTTP/2 stream (RFC 8441).
    Stream,
}

impl WebSocketHandshake {
    fn of(head: &request::Parts) -> WebSocketHandshake {
        let protocol = head.extensions.get::<upgrade::ConnectProtocol>();
        match head.method {
            Method::CONNECT if protocol.is_some_and(|protocol| &*protocol.0 == "websocket") => {
                WebSocketHandshake::Stream
            }
            Method::GET if websocket::is_requested(&head.headers) => WebSocketHandshake::Upgrade,
            _ => WebSocketHandshake::None,
        }
    }
}

/// Whether a page's origin is the host that the request goes to.
fn is_same_origin(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let authority = origin.as_ref().and_then(Uri::authority);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    authority.zip(host).is_some_and(|(authority, host)| authority.as_str().eq_ignore_ascii_case(host))
}

/// Reads an event's data, up to [`MAX_DATA`].
async fn read_data<B>(headers: &HeaderMap, body: B) -> Result<String, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text!(event_too_large, limit = MAX_DATA));
    let announced = headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|len| len > MAX_DATA as u64) {
        return Err(too_large());
    }
    let mut body = pin!(body);
    let mut data = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|error| Problem::bad_request(text!(event_incomplete, %error)))?;
        if let Ok(bytes) = frame.into_data() {
            if data.len() + bytes.len() > MAX_DATA {
                return Err(too_large());
            }
            data.extend_from_slice(&bytes);
        }
    }
    String::from_utf8(data).map_err(|_| Problem::bad_request(text!(event_not_text)))
}

/// The problem for a client that would exceed a limit.
fn limit_problem(limit: LimitReached) -> Problem {
    let (status, detail) = match limit {
        LimitReached::Address => (StatusCode::TOO_MANY_REQUESTS, text!(channel_subscribers_of_address)),
        LimitReached::Token => (StatusCode::TOO_MANY_REQUESTS, text!(channel_subscribers_of_token)),
        LimitReached::Channel => (StatusCode::SERVICE_UNAVAILABLE, text!(channel_full)),
        LimitReached::Channels => (StatusCode::SERVICE_UNAVAILABLE, text!(channels_full)),
    };
    // Random, so that clients do not come back at the same time.
    let wait = random_in(10..60);
    Problem::new(status, detail).retry_after(u32::try_from(wait).unwrap_or(10))
}

fn json(method: &Method, value: &serde_json::Value) -> Response<ResponseBody> {
    let type_ = HeaderValue::from_static("application/json");
    let mut response = small(method, StatusCode::OK, type_, value.to_string().into_bytes());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
