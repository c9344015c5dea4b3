//! Sockets in pairs, and bytes that are known on both sides without being kept.

use std::io;
use std::net::Ipv4Addr;

use outflow_relay::flow::FlowSocket;
use outflow_testkit::Random;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// From 1 to `limit`.
fn size(random: &mut Random, limit: usize) -> usize {
    1 + random.below(limit as u64) as usize
}

/// A stream of bytes that the other end can generate as well.
pub(crate) struct RepeatableBytes {
    block: Vec<u8>,
    at: usize,
}

impl RepeatableBytes {
    pub(crate) fn new(seed: u64) -> RepeatableBytes {
        let mut random = Random::new(seed);
        // Not a multiple of any size of a read or a write, so that a misplaced piece never fits.
        let block = (0..250_007).map(|_| random.next() as u8).collect();
        RepeatableBytes { block, at: 0 }
    }

    /// The next bytes, at most `most`.
    pub(crate) fn next(&mut self, most: usize) -> &[u8] {
        let from = self.at % self.block.len();
        let n = most.min(self.block.len() - from);
        self.at += n;
        &self.block[from..from + n]
    }
}

/// Writes `len` bytes in pieces of up to `piece`.
pub(crate) async fn write(mut to: impl AsyncWrite + Unpin, seed: u64, len: usize, piece: usize) {
    let (mut bytes, mut random, mut left) = (RepeatableBytes::new(seed), Random::new(seed + 1), len);
    while left > 0 {
        let part = bytes.next(size(&mut random, piece).min(left));
        to.write_all(part).await.unwrap();
        left -= part.len();
    }
}

/// Reads to the end in pieces of up to `piece`; they have to be what [`write`] wrote.
pub(crate) async fn read(from: impl AsyncRead + Unpin, seed: u64, len: usize, piece: usize) {
    let (n, end) = read_until(from, seed, piece).await;
    end.unwrap();
    assert_eq!(n, len);
}

/// The same, up to wherever the stream ends, and how it ended.
pub(crate) async fn read_until(
    mut from: impl AsyncRead + Unpin,
    seed: u64,
    piece: usize,
) -> (usize, io::Result<()>) {
    let (mut bytes, mut random, mut read) = (RepeatableBytes::new(seed), Random::new(seed + 2), 0);
    let mut room = vec![0; piece];
    loop {
        let size = size(&mut random, piece);
        let n = match from.read(&mut room[..size]).await {
            Ok(0) => return (read, Ok(())),
            Ok(n) => n,
            Err(error) => return (read, Err(error)),
        };
        let mut got = &room[..n];
        while !got.is_empty() {
            let want = bytes.next(got.len());
            assert!(want == &got[..want.len()], "other bytes behind {read}");
            read += want.len();
            got = &got[want.len()..];
        }
    }
}

/// Two ends of one TCP connection.
pub(crate) async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (one, other) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (one.unwrap(), other.unwrap().0)
}

/// A peer's end, TCP or Unix.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl Duplex for TcpStream {}
impl Duplex for UnixStream {}

/// A peer's end, and the one to hand to the flow.
pub(crate) async fn end_of(kind: SocketSort) -> (Box<dyn Duplex>, FlowSocket) {
    match kind {
        SocketSort::Tcp | SocketSort::Narrow => {
            let (peer, own) = tcp().await;
            if kind == SocketSort::Narrow {
                for socket in [&peer, &own] {
                    rustix::net::sockopt::set_socket_recv_buffer_size(socket, 20_000).unwrap();
                    rustix::net::sockopt::set_socket_send_buffer_size(socket, 20_000).unwrap();
                }
            }
            (Box::new(peer), own.into())
        }
        SocketSort::Unix => {
            let (peer, own) = UnixStream::pair().unwrap();
            (Box::new(peer), own.into())
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketSort {
    Tcp,
    /// TCP with buffers so small that both sides have to wait.
    Narrow,
    Unix,
}

/// Checks that a read or a write has failed because the connection was reset.
#[track_caller]
pub(crate) fn is_reset(result: io::Result<usize>) {
    let error = result.expect_err("no error");
    assert!(matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error}");
}
