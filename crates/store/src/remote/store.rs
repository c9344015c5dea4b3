//! An opened store: heads, lists, small reads and writes.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use outflow_content::SpanError;

use crate::remote::object::{Object, RemoteFile};

/// How a store is used.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Connections to the store at the same time, at the most.
    pub connections: usize,
    /// Memory for all segments together, in bytes.
    pub segment_memory: usize,
    /// A second request is sent when a recipient is about to run dry and the store does not answer.
    pub hedge: bool,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions { connections: 64, segment_memory: 256 << 20, hedge: false }
    }
}

/// A store that was opened by its address. Clones are the same store. All calls may be made from any runtime:
/// the work is done on threads of the store's own.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    address: String,
}

/// A small object that was read whole.
#[derive(Clone, Debug)]
pub enum Small {
    /// It is still the one whose tag was named.
    NotModified,
    /// Its bytes.
    Read {
        /// All of them.
        bytes: Bytes,
        /// What it is.
        object: Object,
    },
}

/// Why a store did not do what it was asked to. The text names the object and never a credential.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {kind}")]
pub struct StoreError {
    /// What was tried, with which object.
    pub what: String,
    /// What happened.
    pub kind: StoreErrorKind,
}

/// What kind of failure it was.
#[derive(Debug, thiserror::Error)]
pub enum StoreErrorKind {
    /// There is no such object.
    #[error("there is no such object")]
    NotFound,
    /// The store refuses the credentials, or these do not allow it.
    #[error("the store refuses access: {0}")]
    Denied(String),
    /// It is longer than what was asked for at the most.
    #[error("it has more than {limit} bytes or entries")]
    TooBig {
        /// The limit.
        limit: usize,
    },
    /// The address or the configuration makes no sense.
    #[error("{0}")]
    Misconfigured(String),
    /// The store cannot do this at all.
    #[error("the store cannot do this: {0}")]
    Unsupported(String),
    /// The store did not answer, or not well, even after several tries.
    #[error("{0}")]
    Unavailable(String),
}

impl Store {
    /// Opens `address`: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, `http(s)://host/path` or
    /// `file:///path`. Endpoint, region and credentials come from the usual environment. Asks the store nothing.
    ///
    /// # Errors
    /// [`StoreErrorKind::Misconfigured`], with what to do.
    pub fn open(address: &str, options: &StoreOptions) -> Result<Store, StoreError> {
        let _ = options;
        Ok(Store(Arc::new(Inner { address: address.to_owned() })))
    }

    /// The address it was opened by, without anything secret.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// What the store knows of an object, its CRC-32 too where it can tell from a head alone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn head(&self, key: &str) -> Result<Object, StoreError> {
        self.unsupported(key)
    }

    /// Reads an object of at most `limit` bytes; not if it is still the one of `unless_etag`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read_small(
        &self,
        key: &str,
        limit: usize,
        unless_etag: Option<&str>,
    ) -> Result<Small, StoreError> {
        let _ = (limit, unless_etag);
        self.unsupported(key)
    }

    /// All objects whose keys lie below the folder `prefix` (empty: all), sorted by key.
    ///
    /// # Errors
    /// [`StoreError`]; `TooBig` for more than `limit`.
    pub async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<Object>, StoreError> {
        let _ = limit;
        self.unsupported(prefix)
    }

    /// What lies directly in the folder `prefix` (empty: the top): names of folders, and objects. Both are sorted.
    ///
    /// # Errors
    /// [`StoreError`]; `TooBig` for more than `limit`.
    pub async fn list_folder(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<(Vec<String>, Vec<Object>), StoreError> {
        let _ = limit;
        self.unsupported(prefix)
    }

    /// Writes a small object, whole or not at all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put(&self, key: &str, bytes: Bytes, media_type: &str) -> Result<(), StoreError> {
        let _ = (bytes, media_type);
        self.unsupported(key)
    }

    /// Deletes an object; one that is not there counts as deleted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.unsupported(key)
    }

    /// The CRC-32 of all bytes of an object, if the store can tell without sending them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn crc32(&self, object: &Object) -> Result<Option<u32>, StoreError> {
        self.unsupported(&object.key)
    }

    /// The CRC-32 of all bytes of an object: what the store knows, or computed by reading them.
    ///
    /// # Errors
    /// [`SpanError`].
    pub async fn compute_crc32(&self, object: Arc<Object>) -> Result<u32, SpanError> {
        Err(SpanError::Other { name: object.key.clone(), source: "not yet".into() })
    }

    /// The bytes of an object. It has to be the same whenever some of them leave.
    #[must_use]
    pub fn file(&self, object: Arc<Object>) -> RemoteFile {
        RemoteFile::new(self.clone(), object)
    }

    fn unsupported<T>(&self, key: &str) -> Result<T, StoreError> {
        Err(StoreError { what: key.to_owned(), kind: StoreErrorKind::Unsupported("not yet".to_owned()) })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.0.address)
    }
}
