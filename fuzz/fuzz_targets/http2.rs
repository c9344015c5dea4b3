//! Anything as the bytes of an HTTP/2 connection: the server never panics, a service sees
//! well-formed requests only, and a connection whose client has ended ends.
#![no_main]

use std::future::poll_fn;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::LazyLock;
use std::time::Duration;

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{Method, Request, Response, Version};
use http_body::Body as _;
use libfuzzer_sys::fuzz_target;
use outflow_content::{Content, ContentBody};
use outflow_wire::{HttpService, RequestBody, Server, ServerOptions};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 4;
/// How long a server may take to end a connection whose client has ended. Its own limits are
/// shorter or far longer.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    /// What the connection begins with instead of the preface.
    preface: Option<Vec<u8>>,
    pieces: Vec<Piece>,
}

#[derive(arbitrary::Arbitrary, Debug)]
enum Piece {
    /// A request that is in order, as far as its method, path and further fields are.
    Request {
        stream: u8,
        flags: u8,
        method: u8,
        path: Option<Text>,
        fields: Vec<Field>,
    },
    Headers {
        stream: u8,
        flags: u8,
        fields: Vec<Field>,
    },
    Frame {
        kind: u8,
        flags: u8,
        stream: u8,
        payload: Vec<u8>,
    },
    Raw(Vec<u8>),
}

#[derive(arbitrary::Arbitrary, Debug)]
struct Field {
    name: Text,
    value: Text,
}

#[derive(arbitrary::Arbitrary, Debug)]
enum Text {
    Known(u8),
    Any(Vec<u8>),
}

const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "OPTIONS", "CONNECT"];

/// Names, and values that mean something to some of them.
const KNOWN: [&str; 24] = [
    ":method",
    ":scheme",
    ":authority",
    ":path",
    ":protocol",
    "host",
    "content-length",
    "te",
    "range",
    "connection",
    "transfer-encoding",
    "expect",
    "GET",
    "HEAD",
    "POST",
    "CONNECT",
    "OPTIONS",
    "http",
    "a.test",
    "/",
    "*",
    "/a?b",
    "websocket",
    "5",
];

#[derive(Clone)]
struct CheckedRequests;

impl HttpService for CheckedRequests {
    type Body = ContentBody;

    async fn answer(&self, request: Request<RequestBody>) -> Result<Response<ContentBody>, String> {
        let (head, mut body) = request.into_parts();
        if head.version == Version::HTTP_2 {
            assert_eq!(head.headers.get_all(HOST).iter().count(), 1, "{head:?}");
            assert!(!head.headers.contains_key(CONNECTION) && !head.headers.contains_key(TRANSFER_ENCODING));
            if head.method != Method::CONNECT {
                assert!(head.uri.authority().is_none() && head.uri.scheme().is_none(), "{head:?}");
                let is_asterisk = head.method == Method::OPTIONS && head.uri.path() == "*";
                assert!(is_asterisk || head.uri.path().starts_with('/'), "{head:?}");
            }
        }
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            frame.map_err(|error| error.to_string())?;
        }
        Ok(Content::bytes(vec![b'x'; 20_000]).respond(&head.method, &head.headers))
    }
}

/// A server that runs until the process ends. A panic in its thread ends the process, too.
static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a port");
    let options = ServerOptions { http2_cleartext: true, ..ServerOptions::default() };
    std::thread::spawn(move || Server::new(options).run([listener], 1, CheckedRequests));
    address
});

fuzz_target!(|input: Input| {
    let mut bytes = input.preface.unwrap_or_else(|| PREFACE.to_vec());
    for piece in &input.pieces {
        write(&mut bytes, piece);
    }
    let mut client = TcpStream::connect(*SERVER).expect("the server listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // A server that has given up resets the connection.
    let _ = client.write_all(&bytes).and_then(|()| client.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    if let Err(error) = client.read_to_end(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the connection does not end");
    }
});

fn write(bytes: &mut Vec<u8>, piece: &Piece) {
    match piece {
        Piece::Request { stream, flags, method, path, fields } => {
            let mut block = Vec::new();
            literal(&mut block, b":method", METHODS[usize::from(*method) % METHODS.len()].as_bytes());
            literal(&mut block, b":scheme", b"http");
            literal(&mut block, b":authority", b"a.test");
            literal(&mut block, b":path", path.as_ref().map_or(b"/", text));
            fields.iter().for_each(|field| literal(&mut block, text(&field.name), text(&field.value)));
            frame(bytes, HEADERS, flags & 1 | END_HEADERS, *stream, &block);
        }
        Piece::Headers { stream, flags, fields } => {
            let mut block = Vec::new();
            fields.iter().for_each(|field| literal(&mut block, text(&field.name), text(&field.value)));
            frame(bytes, HEADERS, *flags, *stream, &block);
        }
        Piece::Frame { kind, flags, stream, payload } => frame(bytes, *kind, *flags, *stream, payload),
        Piece::Raw(raw) => bytes.extend_from_slice(raw),
    }
}

fn text(text: &Text) -> &[u8] {
    match text {
        Text::Known(index) => KNOWN[usize::from(*index) % KNOWN.len()].as_bytes(),
        Text::Any(bytes) => bytes,
    }
}

/// A field as HPACK's literal that no table keeps (RFC 7541, 6.2.2).
fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        // Longer ones would take more than one byte for the length.
        let text = &text[..text.len().min(126)];
        block.push(text.len() as u8);
        block.extend_from_slice(text);
    }
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u8, payload: &[u8]) {
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags, 0, 0, 0, stream]);
    bytes.extend_from_slice(payload);
}
