//! System calls that rustix does not have: unacknowledged bytes, `TCP_NOTSENT_LOWAT`, `TCP_INFO`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use outflow_content::TransportStats;

/// Bytes written to a TCP socket that its peer has not acknowledged yet, sent or not (`SIOCOUTQ`,
/// tcp(7)); our own FIN counts as one. Valid after a reset by the peer, but not after one by us
/// (`connect` to `AF_UNSPEC`).
pub(crate) fn unacked(socket: impl AsFd) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for as long as it is borrowed, and this request writes one int
    // through the pointer, which is to a local one.
    let result = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(u64::try_from(bytes).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

/// Makes the socket count as full while it holds more than `bytes` unsent bytes
/// (`TCP_NOTSENT_LOWAT`, tcp(7)).
pub(crate) fn set_notsent_lowat(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel reads four bytes
    // through the pointer, which is to a local number of as many.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes of `struct tcp_info` (linux/tcp.h) up to `tcpi_bytes_retrans`. An older kernel fills in
/// fewer.
const TCP_INFO_BYTES: usize = 216;

/// The connection's statistics so far (`TCP_INFO`).
pub(crate) fn transport(socket: impl AsFd) -> io::Result<TransportStats> {
    let mut info = [0_u8; TCP_INFO_BYTES];
    let mut len = TCP_INFO_BYTES as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel writes at most
    // `len` bytes through the pointer, which is to as many.
    let result = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // The offsets of these fields never change: new ones are added behind them.
    Ok(TransportStats {
        rtt: Duration::from_micros(u32_at(&info, 68).into()),
        busy: Duration::from_micros(u64_at(&info, 168)),
        receiver_limited: Duration::from_micros(u64_at(&info, 176)),
        sender_limited: Duration::from_micros(u64_at(&info, 184)),
        retransmitted: u64_at(&info, 208),
        rate: u64_at(&info, 160),
    })
}

fn u32_at(info: &[u8; TCP_INFO_BYTES], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&info[at..at + 4]);
    u32::from_ne_bytes(bytes)
}

fn u64_at(info: &[u8; TCP_INFO_BYTES], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&info[at..at + 8]);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        (listener.accept().expect("accepted").0, client)
    }

    #[test]
    fn what_the_peer_has_read_is_acknowledged_and_the_connection_was_busy() {
        let (mut server, mut client) = pair();
        server.write_all(&[1; 100_000]).expect("written");
        client.read_exact(&mut [0; 100_000]).expect("read");
        client.write_all(b"x").expect("written");
        // The acknowledgement came with this byte.
        server.read_exact(&mut [0]).expect("read");
        assert_eq!(unacked(&server).expect("a TCP socket"), 0);
        let transport = transport(&server).expect("a TCP socket");
        assert!(transport.rtt > Duration::ZERO, "{transport:?}");
        assert!(transport.rate > 0 && transport.rtt < Duration::from_secs(10), "{transport:?}");
        assert!(transport.receiver_limited <= transport.busy && transport.sender_limited <= transport.busy);
        assert!(transport.retransmitted < 100_000, "{transport:?}");
    }

    #[test]
    fn what_lies_in_our_own_queue_is_not_acknowledged() {
        let (mut server, _client) = pair();
        server.set_nonblocking(true).expect("non-blocking");
        let mut written = 0;
        while let Ok(n) = server.write(&[1; 65_536]) {
            written += n as u64;
        }
        let unacked = unacked(&server).expect("a TCP socket");
        assert!(unacked > 0 && unacked <= written, "{unacked} of {written}");
    }
}
