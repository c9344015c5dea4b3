//! What a kind of store is, and what an opened store consists of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use outflow_content::Source;

use crate::client::address::StoreAddress;
#[cfg(feature = "s3")]
use crate::client::requests::S3;
use crate::error::StoreErrorKind;
use crate::fetch::PlainAddresses;
use crate::object::Object;

/// A kind of store: how its addresses look, and how one is opened. All that depends on the kind is
/// here.
#[derive(Debug)]
pub struct StoreKind {
    /// What stands before `://` in its addresses.
    pub scheme: &'static str,
    /// An address, for help texts and messages.
    pub example: &'static str,
    /// Checks an address of this kind. The error says what is wrong with it, and repeats nothing
    /// that could be a secret.
    pub parse: fn(&str) -> Result<StoreAddress, String>,
    /// Opens the store at an address without a request. Called again for connections that send
    /// bodies.
    pub open: fn(&StoreAddress, ConnectionUse) -> Result<Backend, StoreErrorKind>,
    /// An object has the media type that it was written with.
    pub keeps_media_types: bool,
}

/// What connections are made for.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionUse {
    /// Idle connections that are kept.
    pub connections: usize,
    /// The time without a byte of an answer after which a request has failed. Sending a body counts
    /// as well.
    pub read_timeout: Duration,
}

/// The clients of one opened store, all on the same connections.
#[derive(Clone)]
pub struct Backend {
    /// For small calls: retries by itself.
    pub(crate) calls: Arc<dyn ObjectStore>,
    /// For segments: does not retry, because the fetch engine does.
    pub(crate) segments: Arc<dyn ObjectStore>,
    /// What only S3 can.
    #[cfg(feature = "s3")]
    pub(crate) s3: Option<Arc<S3>>,
    /// Where objects can be had over plain sockets. None for TLS, or where a proxy is in between.
    pub(crate) plain: Option<PlainAddresses>,
    /// A way to the bytes that needs no requests.
    pub(crate) bytes: Option<Arc<dyn ObjectBytes>>,
}

/// A way to an object's bytes that needs no requests: the store lies on a disk, say.
pub trait ObjectBytes: Send + Sync + 'static {
    /// The bytes of `object`, which have to be those of this very version. `None` if there is no
    /// such way to them; they are fetched then.
    fn source(&self, object: &Object) -> Option<Arc<dyn Source>>;
}

impl Backend {
    /// A store of which nothing is known but its client.
    #[must_use]
    pub fn new(client: Arc<dyn ObjectStore>) -> Backend {
        Backend {
            calls: Arc::clone(&client),
            segments: client,
            #[cfg(feature = "s3")]
            s3: None,
            plain: None,
            bytes: None,
        }
    }

    /// The client for heads: where the store has checksums, one that asks for them.
    pub(crate) fn heads(&self) -> &dyn ObjectStore {
        #[cfg(feature = "s3")]
        if let Some(s3) = &self.s3 {
            return &s3.heads;
        }
        &*self.calls
    }

    /// Its objects' bytes come from `bytes`, without requests.
    #[must_use]
    pub fn with_bytes(self, bytes: Arc<dyn ObjectBytes>) -> Backend {
        Backend { bytes: Some(bytes), ..self }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({})", self.calls)
    }
}
