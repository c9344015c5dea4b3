//! hyper as the oracle: the same bytes, however they were cut, mean the same requests to both
//! engines.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::OnceLock;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use proptest::prelude::*;

use crate::support::{HttpClient, PATIENCE, Running, serve, text};

/// What a service sees of a request, as text.
async fn describe<B: Body<Error: std::fmt::Display>>(request: Request<B>) -> Result<String, String> {
    let (parts, body) = request.into_parts();
    let mut said = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
    let mut fields: Vec<_> = parts.headers.iter().collect();
    // Stable: what has one name stays in its order.
    fields.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in fields {
        let _ = writeln!(said, "{name}: {}", value.as_bytes().escape_ascii());
    }
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let _ = writeln!(said, "{} bytes: {}", body.len(), body.escape_ascii());
    Ok(said)
}

/// hyper's server with the same service, for as long as the process lives.
fn hyper_addr() -> SocketAddr {
    static ADDR: OnceLock<SocketAddr> = OnceLock::new();
    *ADDR.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("non-blocking");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                loop {
                    let (stream, _) = listener.accept().await.expect("a connection");
                    let service = hyper::service::service_fn(|request| async {
                        let said = describe(request).await?;
                        Ok::<_, String>(Response::new(Full::new(Bytes::from(said))))
                    });
                    let io = hyper_util::rt::TokioIo::new(stream);
                    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
                }
            });
        });
        addr
    })
}

fn own_addr() -> SocketAddr {
    static SERVER: OnceLock<Running> = OnceLock::new();
    SERVER.get_or_init(|| serve(|request| async { describe(request).await.map(text) })).addr
}

#[derive(Clone, Debug)]
enum Content {
    None,
    Length(Vec<u8>),
    /// Chunks, whether sizes are in capitals, an extension, and trailers.
    Chunks(Vec<Vec<u8>>, bool, &'static str, &'static str),
}

#[derive(Clone, Debug)]
struct Asked {
    method: String,
    target: String,
    old: bool,
    fields: Vec<(String, Vec<u8>)>,
    content: Content,
}

impl Asked {
    fn write(&self, last: bool, out: &mut Vec<u8>) {
        // HTTP/1.0 knows no chunks.
        let old = self.old && !matches!(self.content, Content::Chunks(..));
        let version = if old { "HTTP/1.0" } else { "HTTP/1.1" };
        out.extend_from_slice(format!("{} {} {version}\r\nHost: x\r\n", self.method, self.target).as_bytes());
        for (name, value) in &self.fields {
            out.extend_from_slice(format!("{name}:").as_bytes());
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        match (last, old) {
            (true, _) => out.extend_from_slice(b"Connection: close\r\n"),
            (false, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (false, false) => {}
        }
        match &self.content {
            Content::None => out.extend_from_slice(b"\r\n"),
            Content::Length(body) => {
                out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                out.extend_from_slice(body);
            }
            Content::Chunks(chunks, capitals, extension, trailers) => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in chunks {
                    let len = chunk.len();
                    let size = if *capitals { format!("{len:X}") } else { format!("00{len:x}") };
                    out.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
                    out.extend_from_slice(chunk);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(format!("0{extension}\r\n{trailers}\r\n").as_bytes());
            }
        }
    }
}

fn content() -> impl Strategy<Value = Content> {
    let bytes = |from| proptest::collection::vec(any::<u8>(), from..300);
    let large = proptest::collection::vec(any::<u8>(), 1..4).prop_map(|seed| seed.repeat(30_000));
    let extension = prop_oneof![Just(""), Just(";a"), Just(";a=b"), Just("; a=\"b c\"")];
    let trailers = prop_oneof![Just(""), Just("X-Trailer: x\r\n"), Just("A: b\r\nC: d\r\n")];
    prop_oneof![
        3 => Just(Content::None),
        2 => bytes(0).prop_map(Content::Length),
        1 => large.prop_map(Content::Length),
        3 => (proptest::collection::vec(bytes(1), 0..5), any::<bool>(), extension, trailers)
            .prop_map(|(chunks, capitals, extension, trailers)| {
                Content::Chunks(chunks, capitals, extension, trailers)
            }),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let method = prop_oneof![
        4 => Just("GET".to_owned()),
        2 => Just("POST".to_owned()),
        1 => proptest::sample::select(vec!["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "PROPFIND"])
            .prop_map(str::to_owned),
        // Not Head nor Connect by chance: their first letters are missing.
        1 => "[A-BI-Z][a-z!#$%&'*+.^_`|~0-9-]{0,12}",
    ];
    let target = prop_oneof![
        4 => r"/[a-zA-Z0-9._~!$&'()*+,;=:@/-]{0,40}(%[0-9A-F]{2}){0,3}(\?[a-zA-Z0-9=&%+/?._~-]{0,30})?",
        1 => r"http://[a-z0-9.-]{1,10}(:[1-9][0-9]{0,3})?/[a-z/]{0,10}(\?[a-z=&]{0,10})?",
        1 => Just("/".to_owned()),
    ];
    // Visible characters and bytes beyond ASCII, white space within and around.
    let value = "[ \t]{0,2}([!-~\u{80}-\u{ff}]([ \t!-~\u{80}-\u{ff}]{0,40}[!-~\u{80}-\u{ff}])?)?[ \t]{0,2}"
        .prop_map(|text| text.chars().map(|c| c as u8).collect::<Vec<u8>>());
    let name = r"[xX]-[A-Za-z0-9!#$%&'*+.^_`|~-]{0,12}|Accept|Cookie|User-Agent|Range|If-None-Match|TE";
    (method, target, any::<bool>(), proptest::collection::vec((name, value), 0..12), content())
        .prop_map(|(method, target, old, fields, content)| Asked { method, target, old, fields, content })
}

/// Sends `wire` in pieces and reads the answers until the connection ends.
fn answers(addr: SocketAddr, wire: &[u8], cuts: &[prop::sample::Index], count: usize) -> Vec<(u16, String)> {
    let mut client = HttpClient::connect(addr).with_timeout(PATIENCE);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
    cuts.extend([0, wire.len()]);
    cuts.sort_unstable();
    for cut in cuts.windows(2) {
        // The last request asks for the close; an engine may be gone while an empty piece is sent.
        client.stream.write_all(&wire[cut[0]..cut[1]]).expect("sent");
    }
    let answers = (0..count)
        .map(|_| client.try_reply(false).expect("a whole response"))
        .map(|reply| (reply.status, String::from_utf8(reply.body).expect("text")))
        .collect();
    client.expect_closed();
    answers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn well_formed_requests_mean_the_same_to_hyper(
        pipeline in proptest::collection::vec(asked(), 1..=4),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut wire = Vec::new();
        for (i, asked) in pipeline.iter().enumerate() {
            asked.write(i + 1 == pipeline.len(), &mut wire);
        }
        let ours = answers(own_addr(), &wire, &cuts, pipeline.len());
        let theirs = answers(hyper_addr(), &wire, &cuts, pipeline.len());
        prop_assert!(ours.iter().all(|(status, _)| *status == 200), "{ours:?}");
        prop_assert_eq!(ours, theirs);
    }
}
