//! Ranged requests on plain sockets, for endpoints without TLS: bodies can be read into our own
//! buffers, or moved by the kernel without being read at all.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::net::RecvFlags;
use rustix::pipe::SpliceFlags;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::runtime::{Handle, Id};
use tokio::time::timeout;

use crate::fetch::plain::PlainUrl;
use crate::fetch::retry::{FetchFailure, retry_after};
use crate::object::Object;

/// Maximum time for connecting to a plain HTTP store.
///
/// Bound: object stores.
const CONNECT: Duration = Duration::from_secs(5);
/// Maximum time until the head of a store's answer.
///
/// Bound: object stores.
pub(crate) const FIRST_BYTE: Duration = Duration::from_secs(15);
/// An idle connection is closed after this time; most servers do so after a minute or more.
const IDLE: Duration = Duration::from_secs(20);
/// Maximum length of an answer's head in bytes.
///
/// Bound: object stores.
const HEAD: usize = 32 * 1024;
/// Maximum length of an error's body that is read, in bytes.
///
/// Bound: object stores.
const ERROR_BODY: usize = 16 * 1024;

/// Open connections that wait for their next request.
#[derive(Default)]
pub(crate) struct ConnectionPool(Mutex<Vec<IdleConnection>>);

struct IdleConnection {
    stream: TcpStream,
    /// To which it is bound. Moving it to another one costs some system calls.
    runtime: Id,
    host: String,
    port: u16,
    since: Instant,
}

impl ConnectionPool {
    /// A connection on which nothing has come since its last answer.
    fn take(&self, url: &PlainUrl) -> Option<TcpStream> {
        let mut idle = self.0.lock();
        idle.retain(|idle| idle.since.elapsed() < IDLE);
        let here = Handle::current().id();
        loop {
            // The one used last, so that what is not needed any more grows old.
            let fits = |idle: &IdleConnection| idle.host == url.host && idle.port == url.port;
            let bound = idle.iter().rposition(|idle| fits(idle) && idle.runtime == here);
            let at = bound.or_else(|| idle.iter().rposition(fits))?;
            let IdleConnection { stream, runtime, .. } = idle.remove(at);
            let quiet = rustix::net::recv(&stream, &mut [0u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
            if !matches!(quiet, Err(rustix::io::Errno::AGAIN)) {
                continue;
            }
            if runtime == here {
                return Some(stream);
            }
            if let Ok(stream) = stream.into_std().and_then(TcpStream::from_std) {
                return Some(stream);
            }
        }
    }

    fn put(&self, stream: TcpStream, host: String, port: u16) {
        if let Ok(here) = Handle::try_current() {
            let idle = IdleConnection { stream, runtime: here.id(), host, port, since: Instant::now() };
            self.0.lock().push(idle);
        }
    }
}

/// The rest of an answer's body, still in its socket.
pub(crate) struct DirectBody {
    stream: Option<TcpStream>,
    left: u64,
    /// The pool that the connection returns to, if it can be used again.
    home: Option<(Arc<ConnectionPool>, String, u16)>,
}

/// Requests `range` of `object`, and reads the head of the answer.
pub(crate) async fn open(
    pool: &Arc<ConnectionPool>,
    url: &PlainUrl,
    object: &Object,
    range: Range<u64>,
) -> Result<DirectBody, FetchFailure> {
    let (mut stream, reused) = match pool.take(url) {
        Some(stream) => (stream, true),
        None => (connect(url).await?, false),
    };
    let request = request(url, object, &range);
    let answered = timeout(FIRST_BYTE, async {
        stream.write_all(request.as_bytes()).await?;
        read_head(&stream).await
    });
    let head = match answered.await {
        Ok(Ok(head)) => head,
        Ok(Err(error)) if reused && !matches!(error.kind(), io::ErrorKind::InvalidData) => {
            return Err(FetchFailure::Stale);
        }
        Ok(Err(error)) => {
            return Err(FetchFailure::passing(format!("the store's answer broke off: {error}")));
        }
        Err(_) => return Err(FetchFailure::passing("the store did not answer in time")),
    };
    if !matches!(head.status, 200 | 206) {
        let keep = head.keep_alive.then(|| (Arc::clone(pool), url.host.clone(), url.port));
        return Err(refusal(stream, &head, keep).await);
    }
    head.check(object, &range)?;
    let home = head.keep_alive.then(|| (Arc::clone(pool), url.host.clone(), url.port));
    Ok(DirectBody { stream: Some(stream), left: range.end - range.start, home })
}

async fn connect(url: &PlainUrl) -> Result<TcpStream, FetchFailure> {
    match timeout(CONNECT, TcpStream::connect((url.host.as_str(), url.port))).await {
        Ok(Ok(stream)) => {
            // Only a matter of latency.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) => Err(FetchFailure::passing(format!("cannot connect to the store: {error}"))),
        Err(_) => Err(FetchFailure::passing("the store could not be connected to in time")),
    }
}

fn request(url: &PlainUrl, object: &Object, range: &Range<u64>) -> String {
    let (target, authority, last) = (&url.target, &url.authority, range.end.saturating_sub(1));
    let mut request =
        format!("GET {target} HTTP/1.1\r\nhost: {authority}\r\nrange: bytes={}-{last}\r\n", range.start);
    match (&object.etag, object.modified) {
        // A weak tag never matches here (RFC 9110, 13.1.1): the answer's is compared instead.
        (Some(etag), _) if !etag.starts_with("W/") => request.push_str(&format!("if-match: {etag}\r\n")),
        (None, Some(modified)) => {
            let date = jiff::Timestamp::from_second(modified.seconds()).ok().and_then(|time| {
                jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()
            });
            if let Some(date) = date {
                request.push_str(&format!("if-unmodified-since: {date}\r\n"));
            }
        }
        _ => {}
    }
    request.push_str(concat!(
        "accept-encoding: identity\r\nuser-agent: outflow/",
        env!("CARGO_PKG_VERSION"),
        "\r\n\r\n"
    ));
    request
}

/// The fields of an answer's head that matter here.
struct SegmentHead {
    status: u16,
    keep_alive: bool,
    length: Option<u64>,
    /// First, last and size, of `Content-Range`.
    range: Option<(u64, u64, u64)>,
    etag: Option<String>,
    retry_after: Option<Duration>,
    /// The body is not simply the bytes.
    coded: bool,
}

impl SegmentHead {
    fn parse(bytes: &[u8]) -> io::Result<Option<(SegmentHead, usize)>> {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut parsed = httparse::Response::new(&mut fields);
        let invalid =
            |error: httparse::Error| io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP: {error}"));
        let httparse::Status::Complete(len) = parsed.parse(bytes).map_err(invalid)? else { return Ok(None) };
        let mut head = SegmentHead {
            status: parsed.code.unwrap_or(0),
            keep_alive: parsed.version == Some(1),
            length: None,
            range: None,
            etag: None,
            retry_after: None,
            coded: false,
        };
        for field in parsed.headers.iter() {
            let value = std::str::from_utf8(field.value).unwrap_or_default().trim();
            match field.name.to_ascii_lowercase().as_str() {
                "connection" if value.to_ascii_lowercase().contains("close") => head.keep_alive = false,
                "content-length" => head.length = value.parse().ok(),
                "content-range" => head.range = content_range(value),
                "etag" => head.etag = Some(value.to_owned()),
                "retry-after" => head.retry_after = retry_after(value),
                "transfer-encoding" => head.coded = true,
                "content-encoding" if !value.eq_ignore_ascii_case("identity") => head.coded = true,
                _ => {}
            }
        }
        Ok(Some((head, len)))
    }

    /// Checks that exactly the requested bytes of exactly this object follow.
    fn check(&self, object: &Object, range: &Range<u64>) -> Result<(), FetchFailure> {
        if let (Some(wanted), Some(got)) = (&object.etag, &self.etag)
            && wanted.trim_start_matches("W/") != got.trim_start_matches("W/")
        {
            return Err(FetchFailure::Changed(format!(
                "its tag in the store is {got} by now, it was {wanted}"
            )));
        }
        if self.coded {
            return Err(FetchFailure::Lasting("the store sends a transformed body".to_owned()));
        }
        let len = range.end - range.start;
        if self.status == 200 {
            let whole = range.start == 0 && range.end == object.size;
            return match self.length {
                Some(length) if whole && length == len => Ok(()),
                Some(length) if length != object.size => Err(FetchFailure::Changed(format!(
                    "it has {length} bytes by now, it had {}",
                    object.size
                ))),
                _ => Err(FetchFailure::passing("the store ignored the range that was asked for")),
            };
        }
        match self.range {
            // An answer that begins elsewhere says nothing about the object.
            Some((first, _, size)) if first == range.start && size != object.size => {
                Err(FetchFailure::Changed(format!("it has {size} bytes by now, it had {}", object.size)))
            }
            Some((first, last, _)) if first == range.start && last.checked_add(1) == Some(range.end) => {
                if self.length.is_none_or(|length| length == len) {
                    // Without a length the next answer's start is unknown.
                    if self.length.is_some() {
                        Ok(())
                    } else {
                        Err(FetchFailure::passing("no Content-Length"))
                    }
                } else {
                    Err(FetchFailure::passing("the store's answer contradicts itself about its length"))
                }
            }
            _ => Err(FetchFailure::passing("the store sent another range than was asked for")),
        }
    }
}

/// `bytes FIRST-LAST/SIZE` (RFC 9110, 14.4).
fn content_range(value: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, size.parse().ok()?))
}

/// Reads a head and not one byte more, so that what follows can be spliced.
async fn read_head(stream: &TcpStream) -> io::Result<SegmentHead> {
    let mut head = Vec::new();
    let mut seen = vec![0; 4096];
    loop {
        stream.readable().await?;
        let peeked = stream.try_io(Interest::READABLE, || {
            Ok(rustix::net::recv(stream, &mut seen[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?.0)
        });
        let n = match peeked {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let before = head.len();
        head.extend_from_slice(&seen[..n]);
        let done = SegmentHead::parse(&head)?;
        // Only the bytes of the head are taken out of the socket.
        let take = done.as_ref().map_or(n, |(_, len)| len - before);
        rustix::net::recv(stream, &mut seen[..take], RecvFlags::DONTWAIT)?;
        match done {
            // An interim answer: the real one follows (RFC 9110, 15.2).
            Some((interim, _)) if (100..200).contains(&interim.status) => head.clear(),
            Some((done, _)) => return Ok(done),
            None if head.len() > HEAD => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its head is too long"));
            }
            None => {}
        }
    }
}

/// The meaning of an error status. Its body may tell more, and has to be read before the connection
/// is used again.
async fn refusal(
    stream: TcpStream,
    head: &SegmentHead,
    home: Option<(Arc<ConnectionPool>, String, u16)>,
) -> FetchFailure {
    let failure = FetchFailure::of_status(head.status, head.retry_after);
    let len = match head.length {
        Some(len) if len <= ERROR_BODY as u64 && !head.coded => len as usize,
        _ => return failure,
    };
    let mut body = DirectBody { stream: Some(stream), left: len as u64, home };
    let mut text = vec![0; len];
    let read = async {
        let mut at = 0;
        while at < len {
            match body.try_read(&mut text[at..]) {
                Ok(0) => break,
                Ok(n) => at += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => body.readable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok::<(), io::Error>(())
    };
    if timeout(Duration::from_secs(1), read).await.is_ok_and(|read| read.is_ok()) {
        body.finish();
    }
    match (failure, code(&text)) {
        (FetchFailure::Denied(why), Some(code)) => FetchFailure::Denied(format!("{why}: {code}")),
        (FetchFailure::Lasting(why), Some(code)) => FetchFailure::Lasting(format!("{why}: {code}")),
        (FetchFailure::Passing { why, retry_after }, Some(code)) => {
            FetchFailure::Passing { why: format!("{why}: {code}"), retry_after }
        }
        (failure, _) => failure,
    }
}

/// The code in an S3 error (`<Code>ExpiredToken</Code>`): letters only, so that nothing else is
/// repeated.
fn code(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let code = text.split_once("<Code>")?.1.split_once("</Code>")?.0;
    (code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| code.to_owned())
}

impl DirectBody {
    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Reads what is there; `WouldBlock` if there is nothing, 0 at the end of the stream.
    pub(crate) fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.stream()?.try_read(&mut into[..len])?;
        self.left -= n as u64;
        Ok(n)
    }

    /// Moves what is there into a pipe; `WouldBlock` if there is nothing, 0 at the end of the
    /// stream.
    pub(crate) fn try_splice(&mut self, into: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        let len = most.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let stream = self.stream()?;
        let n = stream.try_io(Interest::READABLE, || {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            Ok(rustix::pipe::splice(stream.as_fd(), None, into, None, len, flags)?)
        })?;
        self.left -= n as u64;
        Ok(n)
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.stream()?.readable().await
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stream() {
            Ok(stream) => stream.poll_read_ready(cx),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Gives the connection back when the body has been taken whole.
    pub(crate) fn finish(&mut self) {
        if self.left == 0
            && let (Some(stream), Some((pool, host, port))) = (self.stream.take(), self.home.take())
        {
            pool.put(stream, host, port);
        }
    }

    fn stream(&self) -> io::Result<&TcpStream> {
        self.stream.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}
