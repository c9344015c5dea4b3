//! The ways by which the same things are had: HTTP/1.1 and HTTP/2, in the clear and within TLS.

use std::process::Command;

use tempfile::TempDir;

use super::{Authority, HttpClient, Reply, Server, Setup, output, program};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// HTTP/1.1.
    Plain,
    /// HTTP/1.1 within TLS.
    Tls,
    /// HTTP/2 within TLS.
    TlsHttp2,
    /// HTTP/2 by prior knowledge.
    Http2,
}

impl Transport {
    pub(crate) const ALL: [Transport; 4] =
        [Transport::Plain, Transport::Tls, Transport::TlsHttp2, Transport::Http2];
    /// All that a socket alone does not speak.
    pub(crate) const LAYERED: [Transport; 3] = [Transport::Tls, Transport::TlsHttp2, Transport::Http2];

    fn is_secure(self) -> bool {
        matches!(self, Transport::Tls | Transport::TlsHttp2)
    }

    /// The server that speaks it.
    pub(crate) fn serve(self, setup: Setup, authority: &Authority) -> Server {
        if !self.is_secure() {
            return setup.arg("--http2-cleartext").start();
        }
        let (certificate, key) = authority.files("a", &["127.0.0.1", "localhost"]);
        setup.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key).start()
    }

    pub(crate) fn url(self, server: &Server, path: &str) -> String {
        format!("http{}://{}{path}", if self.is_secure() { "s" } else { "" }, server.addr)
    }

    /// curl that speaks it.
    pub(crate) fn curl(self, authority: &Authority) -> Command {
        let mut curl = program("curl");
        curl.args(["--disable", "-sS", "--noproxy", "*", "--globoff", "--path-as-is", "--cacert"]);
        curl.arg(authority.root()).arg(match self {
            Transport::Plain | Transport::Tls => "--http1.1",
            Transport::TlsHttp2 => "--http2",
            Transport::Http2 => "--http2-prior-knowledge",
        });
        curl
    }

    /// Somebody who asks by it.
    pub(crate) fn client<'a>(self, server: &'a Server, authority: &'a Authority) -> Box<dyn Fetch + 'a> {
        match self {
            Transport::Plain => Box::new(server.client()),
            _ => Box::new(Curl { transport: self, server, authority }),
        }
    }
}

/// A client that sends requests.
pub(crate) trait Fetch {
    /// A request with further header lines, each with its CR LF, and its response.
    #[track_caller]
    fn fetch(&mut self, method: &str, path: &str, lines: &str) -> Reply;

    #[track_caller]
    fn get(&mut self, path: &str) -> Reply {
        self.fetch("GET", path, "")
    }

    #[track_caller]
    fn get_range(&mut self, path: &str, range: &str) -> Reply {
        self.fetch("GET", path, &format!("Range: bytes={range}\r\n"))
    }
}

impl Fetch for HttpClient {
    fn fetch(&mut self, method: &str, path: &str, lines: &str) -> Reply {
        HttpClient::fetch(self, method, path, lines)
    }
}

struct Curl<'a> {
    transport: Transport,
    server: &'a Server,
    authority: &'a Authority,
}

impl Fetch for Curl<'_> {
    fn fetch(&mut self, method: &str, path: &str, lines: &str) -> Reply {
        let folder = TempDir::new().unwrap();
        let (head, body) = (folder.path().join("head"), folder.path().join("body"));
        let mut curl = self.transport.curl(self.authority);
        match method {
            "HEAD" => curl.arg("--head"),
            _ => curl.args(["--request", method]),
        };
        for line in lines.lines() {
            curl.arg("--header").arg(line);
        }
        curl.arg("--dump-header").arg(&head);
        curl.arg("--output").arg(if method == "HEAD" { "/dev/null".as_ref() } else { body.as_path() });
        output(curl.arg(self.transport.url(self.server, path)));
        let head = std::fs::read_to_string(head).unwrap();
        let mut lines = head.trim_end().lines();
        let status = lines.next().unwrap();
        let version = if self.transport == Transport::Tls { "HTTP/1.1 " } else { "HTTP/2 " };
        let status = status.strip_prefix(version).unwrap_or_else(|| panic!("not {version}: {status}"));
        let fields = lines.map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}")));
        Reply {
            is_http_1_0: false,
            status: status[..3].parse().unwrap(),
            headers: fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
            // It makes no file of nothing.
            body: std::fs::read(body).unwrap_or_default(),
        }
    }
}
