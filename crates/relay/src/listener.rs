//! Sockets that accept clients: TCP, or Unix sockets in the file system.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use outflow_net::proxy_header::ConnectionAddresses;
use tokio::net::{TcpListener, UnixListener};

use crate::flow::FlowSocket;

/// A listening socket.
pub struct RelayListener(ListenerKind<std::net::TcpListener, StdUnixListener>);

enum ListenerKind<T, U> {
    Tcp(T),
    Unix(U, SocketFile),
}

impl From<std::net::TcpListener> for RelayListener {
    fn from(listener: std::net::TcpListener) -> RelayListener {
        RelayListener(ListenerKind::Tcp(listener))
    }
}

impl RelayListener {
    /// Listens on a Unix socket. Replaces a socket that a program has left behind, and removes its
    /// own on drop.
    ///
    /// # Errors
    /// `AddrInUse` if another program listens there, `AlreadyExists` if the path is not a socket,
    /// and errors of bind(2).
    pub fn unix(path: &Path) -> io::Result<RelayListener> {
        let listener = match StdUnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path, error)?;
                StdUnixListener::bind(path)?
            }
            bound => bound?,
        };
        let file = SocketFile::at(path)?;
        Ok(RelayListener(ListenerKind::Unix(listener, file)))
    }
}

/// Removes a socket on which no program listens; otherwise returns `in_use`, or that there is a
/// file.
fn remove_stale(path: &Path, in_use: io::Error) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // A program listens, even if its queue is full.
        _ => Err(in_use),
    }
}

/// The name of our socket, removed on drop.
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<SocketFile> {
        // Absolute, so that a change of the working directory does no harm.
        let path = std::path::absolute(path)?;
        let id = id_of(&path)?;
        Ok(SocketFile { path, id })
    }
}

fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another program may have replaced it in the meantime.
        if id_of(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A [`RelayListener`] that is registered with a runtime.
pub(crate) struct AsyncListener(ListenerKind<TcpListener, UnixListener>);

/// A client that was accepted.
pub(crate) struct AcceptedClient {
    pub(crate) socket: FlowSocket,
    /// `None` for a client on a Unix socket.
    pub(crate) addresses: Option<ConnectionAddresses>,
}

impl AsyncListener {
    pub(crate) fn open(listener: RelayListener) -> io::Result<AsyncListener> {
        Ok(AsyncListener(match listener.0 {
            ListenerKind::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                ListenerKind::Tcp(TcpListener::from_std(listener)?)
            }
            ListenerKind::Unix(listener, file) => {
                listener.set_nonblocking(true)?;
                ListenerKind::Unix(UnixListener::from_std(listener)?, file)
            }
        }))
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<AcceptedClient>> {
        Poll::Ready(Ok(match &self.0 {
            ListenerKind::Tcp(listener) => {
                let (stream, client) = ready!(listener.poll_accept(cx))?;
                let addresses = ConnectionAddresses { client, server: stream.local_addr()? };
                AcceptedClient { socket: stream.into(), addresses: Some(addresses) }
            }
            ListenerKind::Unix(listener, _) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                AcceptedClient { socket: stream.into(), addresses: None }
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(path: &Path) -> io::ErrorKind {
        RelayListener::unix(path).err().expect("an error").kind()
    }

    #[test]
    fn a_socket_is_removed_with_its_listener_and_replaced_only_if_nobody_listens() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listener = RelayListener::unix(&path).expect("a listener");
        assert_eq!(failure(&path), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
        // What a program that is killed leaves behind.
        drop(StdUnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        let listener = RelayListener::unix(&path).expect("a listener");
        // Another program has replaced the socket.
        fs::remove_file(&path).expect("removed");
        let other = StdUnixListener::bind(&path).expect("bound");
        drop(listener);
        assert!(path.exists());
        drop(other);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes");
        fs::write(&path, "dear").expect("written");
        assert_eq!(failure(&path), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("read"), b"dear");
        assert_eq!(failure(&folder.path().join("no/such/folder")), io::ErrorKind::NotFound);
    }
}
