//! Somebody who is told of events: an HTTP server of few lines, that does what the test wants.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};
use serde_json::Value;
use standardwebhooks::Webhook;

use super::{PATIENCE, Setup, until};

/// Signs what receivers are told, unless they are given another one.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a receiver was told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// `webhook-id`.
    pub(crate) id: String,
    /// `type`.
    pub(crate) kind: String,
    pub(crate) body: Value,
    pub(crate) headers: HeaderMap,
    /// When all of it was there.
    pub(crate) at: Instant,
    /// Whether it was answered with 2xx.
    pub(crate) taken: bool,
}

impl Told {
    /// The id of the download that it is about.
    #[track_caller]
    pub(crate) fn download(&self) -> &str {
        super::id_of(&self.body)
    }
}

/// What a receiver does when it has been told something.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Status(u16),
    /// With further header lines, each with its CR LF.
    With(u16, String),
    /// 200 and a body of so many bytes.
    Huge(u64),
    /// Nothing, for as long as the other side waits.
    Hang,
    /// The connection is closed without an answer.
    Close,
}

/// A port that the kernel chose. While it is held, only a socket with `SO_REUSEADDR`, as servers
/// have it, can be bound to it.
pub(crate) fn reserve_port(ip: Ipv4Addr) -> (OwnedFd, SocketAddr) {
    let port = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    sockopt::set_socket_reuseaddr(&port, true).unwrap();
    bind(&port, &SocketAddr::from((ip, 0))).unwrap();
    let addr = SocketAddr::try_from(getsockname(&port).unwrap()).unwrap();
    (port, addr)
}

type Plan = Box<dyn FnMut(usize, &Told) -> Answer + Send>;

/// A receiver of webhooks. Everything it is told has to be signed; that is looked at by somebody
/// else's library.
pub(crate) struct Receiver {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<Listening>,
    /// Keeps the port while nobody listens.
    _port: OwnedFd,
}

struct Shared {
    secret: String,
    told: Mutex<Vec<Told>>,
    /// What was not as it has to be.
    wrong: Mutex<Vec<String>>,
    plan: Mutex<Plan>,
    /// Bytes of a huge answer that somebody took.
    taken: Mutex<u64>,
}

struct Listening {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Receiver {
    /// One that takes everything.
    pub(crate) fn start() -> Receiver {
        Receiver::answering(|_, _| Answer::Status(200))
    }

    /// One that answers by `plan`, which is told how many came before.
    pub(crate) fn answering(plan: impl FnMut(usize, &Told) -> Answer + Send + 'static) -> Receiver {
        Receiver::at(Ipv4Addr::LOCALHOST, plan)
    }

    /// The same at another address of this machine.
    pub(crate) fn at(ip: Ipv4Addr, plan: impl FnMut(usize, &Told) -> Answer + Send + 'static) -> Receiver {
        let (port, addr) = reserve_port(ip);
        let shared = Shared {
            secret: SECRET.to_owned(),
            told: Mutex::default(),
            wrong: Mutex::default(),
            plan: Mutex::new(Box::new(plan)),
            taken: Mutex::new(0),
        };
        let mut receiver = Receiver { addr, shared: Arc::new(shared), listening: None, _port: port };
        receiver.up();
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    /// `setup` with this as its only receiver.
    pub(crate) fn of(&self, setup: Setup) -> Setup {
        let setup = setup.arg("--webhook").arg(self.url()).arg("--webhook-secret").arg(SECRET);
        setup.arg("--webhook-allow-private")
    }

    /// Answers otherwise from now on.
    pub(crate) fn answer(&self, plan: impl FnMut(usize, &Told) -> Answer + Send + 'static) {
        *self.shared.plan.lock().unwrap() = Box::new(plan);
    }

    /// Stops listening, and breaks its connections.
    pub(crate) fn down(&mut self) {
        let Some(listening) = self.listening.take() else { return };
        listening.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        listening.thread.join().unwrap();
        for connection in listening.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Listens again, at the same port.
    pub(crate) fn up(&mut self) {
        if self.listening.is_some() {
            return;
        }
        // Sets SO_REUSEADDR, so that it gets along with the socket that keeps the port.
        let listener = TcpListener::bind(self.addr).unwrap();
        let (stop, shared) = (Arc::<AtomicBool>::default(), Arc::clone(&self.shared));
        let (stopped, connections) = (Arc::clone(&stop), Arc::<Mutex<Vec<TcpStream>>>::default());
        let known = Arc::clone(&connections);
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let mut known = known.lock().unwrap();
                known.push(connection.try_clone().unwrap());
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let _ = shared.serve(&connection);
                    let _ = connection.shutdown(Shutdown::Both);
                });
            }
        });
        self.listening = Some(Listening { thread, stop, connections });
    }

    /// What it was told so far. Fails if anything of it was not signed, or made no sense.
    #[track_caller]
    pub(crate) fn told(&self) -> Vec<Told> {
        let wrong = self.shared.wrong.lock().unwrap().clone();
        assert!(wrong.is_empty(), "{wrong:#?}");
        self.shared.told.lock().unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn told_of(&self, kind: &str) -> Vec<Told> {
        let mut told = self.told();
        told.retain(|told| told.kind == kind);
        told
    }

    /// Waits until it was told `count` times of `kind`.
    #[track_caller]
    pub(crate) fn wait_for(&self, kind: &str, count: usize) -> Vec<Told> {
        until(&format!("{count} webhooks {kind} have come"), || {
            let told = self.told_of(kind);
            (told.len() >= count).then_some(told)
        })
    }

    /// Waits until it was told of this event, and took it.
    #[track_caller]
    pub(crate) fn wait_taken(&self, id: &str) -> Told {
        until(&format!("{id} was told"), || self.told().into_iter().find(|told| told.taken && told.id == id))
    }

    /// How many bytes of a huge answer went out.
    pub(crate) fn huge_taken(&self) -> u64 {
        *self.shared.taken.lock().unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.down();
        if !std::thread::panicking() {
            let wrong = self.shared.wrong.lock().unwrap();
            assert!(wrong.is_empty(), "{wrong:#?}");
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut rest = Vec::new();
        while let Some((head, body)) = read_request(stream, &mut rest)? {
            let arrived = Instant::now();
            let answer = match self.understand(&head, &body, arrived) {
                Ok(told) => self.take(told),
                Err(why) => {
                    self.wrong
                        .lock()
                        .unwrap()
                        .push(format!("{why}: {head}{}", String::from_utf8_lossy(&body)));
                    Answer::Status(400)
                }
            };
            match answer {
                Answer::Status(status) => write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")?,
                Answer::With(status, lines) => {
                    write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n{lines}\r\n")?;
                }
                Answer::Huge(len) => {
                    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n")?;
                    let piece = vec![b'x'; 1 << 16];
                    let mut left = len;
                    while left > 0 {
                        let n = stream.write(&piece[..piece.len().min(left as usize)])? as u64;
                        left -= n;
                        *self.taken.lock().unwrap() += n;
                    }
                }
                Answer::Hang => {
                    // Until the other side has had enough.
                    let _ = stream.read(&mut [0]);
                    return Ok(());
                }
                Answer::Close => return Ok(()),
            }
        }
        Ok(())
    }

    fn take(&self, mut told: Told) -> Answer {
        let mut plan = self.plan.lock().unwrap();
        let mut all = self.told.lock().unwrap();
        let answer = plan(all.len(), &told);
        told.taken = match answer {
            Answer::Status(status) | Answer::With(status, _) => (200..300).contains(&status),
            Answer::Huge(_) => true,
            Answer::Hang | Answer::Close => false,
        };
        all.push(told);
        answer
    }

    /// What a receiver has to look at, and what this one wants to be so.
    fn understand(&self, head: &str, body: &[u8], at: Instant) -> Result<Told, String> {
        let mut lines = head.trim_end().split("\r\n");
        let request = lines.next().unwrap_or_default();
        if request != "POST /hook HTTP/1.1" {
            return Err("not what was meant".to_owned());
        }
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").ok_or("not a field")?;
            let name: HeaderName = name.parse().map_err(|_| "not a name")?;
            if headers.insert(name, HeaderValue::from_str(value).map_err(|_| "not a value")?).is_some() {
                return Err(format!("twice: {line}"));
            }
        }
        let webhook = Webhook::new(&self.secret).map_err(|error| error.to_string())?;
        webhook.verify(body, &headers).map_err(|error| error.to_string())?;
        if headers.get("content-type").is_none_or(|value| value != "application/json") {
            return Err("not JSON by its type".to_owned());
        }
        let id = headers["webhook-id"].to_str().unwrap().to_owned();
        let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let kind = body["type"].as_str().ok_or("no type")?.to_owned();
        let has = |key: &str| body.get(key).is_some();
        if !has("timestamp") || !has("data") {
            return Err("not all of it is there".to_owned());
        }
        Ok(Told { id, kind, body, headers, at, taken: false })
    }
}

/// The head of the next request, and its body; nothing at the end.
fn read_request(mut stream: &TcpStream, rest: &mut Vec<u8>) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut more = |rest: &mut Vec<u8>| {
        let mut piece = [0; 16 * 1024];
        let n = stream.read(&mut piece)?;
        rest.extend_from_slice(&piece[..n]);
        io::Result::Ok(n)
    };
    let end = loop {
        if let Some(at) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if more(rest)? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&rest[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = end + length.unwrap_or(0);
    while rest.len() < whole {
        if more(rest)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let body = rest[end..whole].to_vec();
    rest.drain(..whole);
    Ok(Some((head, body)))
}

/// The first times that each event was taken. Each id stands for one thing only, and is told the
/// same each time.
#[track_caller]
pub(crate) fn once_each(told: &[Told]) -> HashMap<String, Told> {
    let mut events: HashMap<String, Told> = HashMap::new();
    for one in told.iter().filter(|one| one.taken) {
        let first = events.entry(one.id.clone()).or_insert_with(|| one.clone());
        assert_eq!(first.body, one.body, "{} was told as two things", one.id);
    }
    events
}
