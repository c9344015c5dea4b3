//! From a connection to the answers on it.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, s3_error};
use tokio::net::TcpListener;

use crate::s3::faulty::{ConnectionEnd, FaultyBody, FaultyConnection};
use crate::s3::operations::{Operations, PlayedFaults};
use crate::s3::plan::{Fault, Op};
use crate::s3::request::meaning;
use crate::s3::state::{ActiveRequest, DoubleState, OpenConnection};

/// Admits signed requests, and unsigned ones if that is allowed.
struct SignatureCheck {
    anonymous: bool,
}

#[async_trait::async_trait]
impl S3Access for SignatureCheck {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        match cx.credentials() {
            None if !self.anonymous => Err(s3_error!(AccessDenied, "Signature is required")),
            _ => Ok(()),
        }
    }
}

/// Accepts connections until the future is dropped.
pub(crate) async fn serve(listener: StdListener, shared: Arc<DoubleState>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut builder = S3ServiceBuilder::new(Operations(Arc::clone(&shared.store)));
    builder.set_auth(SimpleAuth::from_single(shared.credentials.0, shared.credentials.1));
    builder.set_access(SignatureCheck { anonymous: shared.anonymous });
    let s3 = builder.build();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors until other connections close.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let ends = Arc::new(ConnectionEnd::default());
        let wire = FaultyConnection::new(stream, Arc::clone(&ends), OpenConnection::new(Arc::clone(&shared)));
        let (s3, shared) = (s3.clone(), Arc::clone(&shared));
        let service =
            service_fn(move |request| answer(s3.clone(), Arc::clone(&shared), Arc::clone(&ends), request));
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(wire), service),
        );
    }
}

/// Answers one request. An error closes the connection without a response.
async fn answer(
    s3: S3Service,
    shared: Arc<DoubleState>,
    ends: Arc<ConnectionEnd>,
    mut request: Request<Incoming>,
) -> Result<Response<FaultyBody>, StdError> {
    let (op, bucket, key) = meaning(request.method(), request.uri());
    let to_head = request.method() == Method::HEAD;
    let mut active = ActiveRequest::new(Arc::clone(&shared), op, &key);
    let fault = shared.play.lock().decide(op, &key);
    let latency = shared.latency.load(Ordering::Relaxed);
    if latency > 0 {
        tokio::time::sleep(Duration::from_millis(latency)).await;
    }
    if let Some(Fault::SlowHead { ms }) = fault {
        wait(ms).await;
    }
    let error = fault.and_then(refusal);
    let response = match error {
        Some(error) => error.to_http_response().map_err(StdError::from)?,
        None => {
            if let Some(Fault::Replace | Fault::ReplaceAndLie) = fault {
                shared.store.lock().replace(&bucket, &key);
            }
            let played = PlayedFaults {
                ignore_range: fault == Some(Fault::WholeBody),
                ignore_conditions: fault == Some(Fault::ReplaceAndLie),
            };
            request.extensions_mut().insert(played);
            s3.call(request.map(s3s::Body::from)).await.map_err(StdError::from)?
        }
    };
    let (mut head, mut body) = response.into_parts();
    if head.status == StatusCode::NOT_MODIFIED {
        // To `s3s` this is an error, with a body.
        body = s3s::Body::empty();
    }
    if !head.status.is_success() {
        active.forget_key();
    }
    let len = if to_head { 0 } else { body.size_hint().exact().unwrap_or_default() };
    let is_played = match fault {
        // Only a body of the object's bytes can be too long, too short or wrong.
        Some(Fault::Long { .. } | Fault::Short { .. } | Fault::Junk { .. } | Fault::FlipBit { .. }) => {
            op == Op::GetObject && head.status.is_success() && len > 0
        }
        Some(Fault::WrongRange) => head.headers.contains_key(CONTENT_RANGE),
        Some(Fault::Reset { at } | Fault::Close { at } | Fault::Stall { at, .. }) => {
            len == 0 || at.within(len) < len
        }
        fault => fault.is_some(),
    };
    let fault = fault.filter(|_| is_played);
    if let Some(fault) = fault {
        *shared.stats.lock().faults.entry(fault.name()).or_default() += 1;
    }
    match fault {
        Some(Fault::Reset { .. }) if len == 0 => {
            ends.reset();
            return Err("the plan resets the connection".into());
        }
        Some(Fault::Close { .. }) if len == 0 => return Err("the plan closes the connection".into()),
        Some(Fault::Stall { ms, .. }) if len == 0 => wait(ms).await,
        Some(Fault::Long { extra }) => set_length(&mut head.headers, len + extra),
        Some(Fault::Short { missing }) => set_length(&mut head.headers, len.saturating_sub(missing)),
        Some(Fault::WrongRange) => shift_range(&mut head.headers),
        // hyper takes the length from the head: the body announces none.
        _ if len > 0 => set_length(&mut head.headers, len),
        _ if !to_head && head.status != StatusCode::NO_CONTENT && head.status != StatusCode::NOT_MODIFIED => {
            set_length(&mut head.headers, 0);
        }
        _ => {}
    }
    let rate = shared.bandwidth.load(Ordering::Relaxed);
    Ok(Response::from_parts(head, FaultyBody::new(body, len, fault, rate, ends, active)))
}

async fn wait(ms: Option<u64>) {
    match ms {
        Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        // Until the connection ends.
        None => std::future::pending().await,
    }
}

/// The error response that a fault plays, if S3 has one for it.
fn refusal(fault: Fault) -> Option<S3Error> {
    let (status, code, text, retry_after) = match fault {
        Fault::Error500 => (500, S3ErrorCode::InternalError, "We encountered an internal error.", None),
        Fault::SlowDown { retry_after } => {
            (503, S3ErrorCode::SlowDown, "Please reduce your request rate.", retry_after)
        }
        Fault::TooMany { retry_after } => (
            429,
            S3ErrorCode::Custom("TooManyRequests".into()),
            "Please reduce your request rate.",
            retry_after,
        ),
        Fault::Expired => (403, S3ErrorCode::ExpiredToken, "The provided token has expired.", None),
        Fault::Denied => (403, S3ErrorCode::AccessDenied, "SignatureCheck Denied", None),
        _ => return None,
    };
    let mut error = S3Error::with_message(code, text);
    error.set_status_code(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    if let Some(seconds) = retry_after {
        error.set_headers(HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from(seconds))]));
    }
    Some(error)
}

fn set_length(headers: &mut HeaderMap, len: u64) {
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
}

/// `bytes a-b/n` becomes `bytes a+1-b+1/n+1`: a valid range that was not requested.
fn shift_range(headers: &mut HeaderMap) {
    let shifted = headers.get(CONTENT_RANGE).and_then(|range| {
        let (first, rest) = range.to_str().ok()?.strip_prefix("bytes ")?.split_once('-')?;
        let (last, whole) = rest.split_once('/')?;
        let more = |number: &str| Some(number.parse::<u64>().ok()? + 1);
        format!("bytes {}-{}/{}", more(first)?, more(last)?, more(whole)?).parse::<HeaderValue>().ok()
    });
    if let Some(shifted) = shifted {
        headers.insert(CONTENT_RANGE, shifted);
    }
}
