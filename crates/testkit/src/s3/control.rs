//! The handle of the double by HTTP, for programs that cannot hold it.
//!
//! | request | effect |
//! |---|---|
//! | `GET /stats` | [`Stats`](crate::s3::Stats) |
//! | `DELETE /stats` | resets the counters |
//! | `GET /plan` | the [`FaultPlan`] |
//! | `PUT /plan` | sets it |
//! | `PUT /settings` | `{"latency_ms": 20, "bandwidth": 1000000}`, both optional |
//! | `PUT /objects` | `{"key": "a", "seed": 1, "len": 1000, "crc32": true}`: puts a pattern |
//! | `POST /replace` | `{"key": "a"}`: other bytes of the same size |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::s3::{Double, FaultPlan, StoredObject};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsOrder {
    latency_ms: Option<u64>,
    bandwidth: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternOrder {
    key: String,
    seed: u64,
    len: u64,
    #[serde(default)]
    crc32: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplaceOrder {
    key: String,
}

/// Binds the address; returns it and the future that serves requests.
///
/// # Errors
/// Those of the address.
pub async fn control(
    double: Arc<Double>,
    listen: SocketAddr,
) -> std::io::Result<(SocketAddr, impl Future<Output = ()>)> {
    let listener = TcpListener::bind(listen).await?;
    let addr = listener.local_addr()?;
    let serving = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let double = Arc::clone(&double);
            let service = service_fn(move |request| {
                let double = Arc::clone(&double);
                async move { Ok::<_, Infallible>(handle(&double, request).await) }
            });
            let builder = hyper::server::conn::http1::Builder::new();
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    };
    Ok((addr, serving))
}

async fn handle(double: &Double, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let done = match (head.method.as_str(), head.uri.path()) {
        ("GET", "/stats") => shown(&double.stats()),
        ("DELETE", "/stats") => {
            double.reset_stats();
            Ok(String::new())
        }
        ("GET", "/plan") => shown(&double.plan()),
        ("PUT", "/plan") => serde_json::from_slice::<FaultPlan>(&body).map(|plan| {
            double.set_plan(plan);
            String::new()
        }),
        ("PUT", "/settings") => serde_json::from_slice::<SettingsOrder>(&body).map(|settings| {
            if let Some(ms) = settings.latency_ms {
                double.set_latency(Duration::from_millis(ms));
            }
            if let Some(bytes) = settings.bandwidth {
                double.set_bandwidth(bytes);
            }
            String::new()
        }),
        ("PUT", "/objects") => serde_json::from_slice::<PatternOrder>(&body).and_then(|pattern| {
            let object = StoredObject::pattern(pattern.seed, pattern.len);
            let object =
                if pattern.crc32 { object.with_crc32().map_err(serde_json::Error::io)? } else { object };
            shown(&double.put(&pattern.key, object))
        }),
        ("POST", "/replace") => {
            serde_json::from_slice::<ReplaceOrder>(&body).and_then(|key| shown(&double.replace(&key.key)))
        }
        _ => return reply(StatusCode::NOT_FOUND, "no such request\n".to_owned()),
    };
    match done {
        Ok(text) => reply(StatusCode::OK, text),
        Err(error) => reply(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

fn shown(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value)
}

fn reply(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
