//! Any bytes as the head of a request for a tunnel, as the response to it, and as the field that
//! names a session: each end answers or refuses, and what it prints it reads again.
#![no_main]

use http::{Method, Request, Version};
use libfuzzer_sys::fuzz_target;
use outflow_tunnel::session::{ResumeRequest, ResumeResponse};
use outflow_wire::upgrade::ConnectProtocol;

/// Fields of a request that are tried.
const MAX_FIELDS: usize = 32;

fuzz_target!(|data: &[u8]| {
    let [piece, bytes @ ..] = data else { return };
    outflow_tunnel::client::fuzzing::response(bytes, usize::from(*piece).max(1));
    if let Some(request) = request(bytes) {
        outflow_tunnel::server::fuzzing::request(&request);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(resume) = text.parse::<ResumeRequest>() {
            assert_eq!(resume.to_string().parse(), Ok(resume));
        }
        if let Ok(resume) = text.parse::<ResumeResponse>() {
            assert_eq!(resume.to_string().parse(), Ok(resume));
        }
    }
});

/// The request that the engine would make of a head; the field `:protocol` makes it one of HTTP/2.
fn request(bytes: &[u8]) -> Option<Request<()>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let (bytes, protocol) = match bytes.strip_prefix(b":protocol ") {
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            (&rest[end + 1..], Some(std::str::from_utf8(&rest[..end]).ok()?))
        }
        None => (bytes, None),
    };
    if !head.parse(bytes).ok()?.is_complete() {
        return None;
    }
    let mut request = Request::builder().method(head.method?).uri(head.path?);
    for field in head.headers {
        request = request.header(field.name, field.value);
    }
    let mut request = request.body(()).ok()?;
    if let Some(protocol) = protocol {
        *request.method_mut() = Method::CONNECT;
        *request.version_mut() = Version::HTTP_2;
        request.extensions_mut().insert(ConnectProtocol(protocol.into()));
    }
    Some(request)
}
