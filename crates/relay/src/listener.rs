//! Taking clients, by TCP or on a socket in the file system.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use outflow_net::proxy_header::ConnectionAddresses;
use tokio::net::{TcpListener, UnixListener};

use crate::flow::Socket;

/// A listening socket.
pub struct Listener(Kind<std::net::TcpListener, StdUnixListener>);

enum Kind<T, U> {
    Tcp(T),
    Unix(U, SocketFile),
}

impl From<std::net::TcpListener> for Listener {
    fn from(listener: std::net::TcpListener) -> Listener {
        Listener(Kind::Tcp(listener))
    }
}

impl Listener {
    /// Listens on a Unix socket. One that a program left behind when it ended is replaced; this one is removed when the
    /// listener is dropped.
    ///
    /// # Errors
    /// `AddrInUse` when somebody listens there, `AlreadyExists` when the path is something else than a socket, and what
    /// bind(2) says.
    pub fn unix(path: &Path) -> io::Result<Listener> {
        let listener = match StdUnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path, error)?;
                StdUnixListener::bind(path)?
            }
            bound => bound?,
        };
        let file = SocketFile::at(path)?;
        Ok(Listener(Kind::Unix(listener, file)))
    }
}

/// Removes a socket that nobody listens on; otherwise says `in_use`, or what is there.
fn remove_stale(path: &Path, in_use: io::Error) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Somebody, even if it has no time for us now.
        _ => Err(in_use),
    }
}

/// The socket's name, as long as it is ours.
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<SocketFile> {
        // Also from another folder it is removed.
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
        // Somebody may have replaced it in the meantime.
        if id_of(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The same within a runtime.
pub(crate) struct Door(Kind<TcpListener, UnixListener>);

/// A client that was accepted.
pub(crate) struct Arrival {
    pub(crate) socket: Socket,
    /// Nothing for one on a Unix socket.
    pub(crate) addresses: Option<ConnectionAddresses>,
}

impl Door {
    pub(crate) fn open(listener: Listener) -> io::Result<Door> {
        Ok(Door(match listener.0 {
            Kind::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Kind::Tcp(TcpListener::from_std(listener)?)
            }
            Kind::Unix(listener, file) => {
                listener.set_nonblocking(true)?;
                Kind::Unix(UnixListener::from_std(listener)?, file)
            }
        }))
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Arrival>> {
        Poll::Ready(Ok(match &self.0 {
            Kind::Tcp(listener) => {
                let (stream, client) = ready!(listener.poll_accept(cx))?;
                let addresses = ConnectionAddresses { client, server: stream.local_addr()? };
                Arrival { socket: stream.into(), addresses: Some(addresses) }
            }
            Kind::Unix(listener, _) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                Arrival { socket: stream.into(), addresses: None }
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(path: &Path) -> io::ErrorKind {
        Listener::unix(path).err().expect("an error").kind()
    }

    #[test]
    fn a_socket_is_removed_with_its_listener_and_replaced_only_if_nobody_listens() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listener = Listener::unix(&path).expect("a listener");
        assert_eq!(failure(&path), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
        // As a program leaves it that is killed.
        drop(StdUnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        let listener = Listener::unix(&path).expect("a listener");
        // Somebody else's by now.
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
