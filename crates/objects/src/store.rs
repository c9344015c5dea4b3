//! An opened store: heads, lists, small reads and writes.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutOptions, PutPayload,
};
use outflow_content::{Feed as _, SpanError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::path::printable;
use crate::remote::address::{Address, Place};
use crate::remote::clients::{Clients, Use};
use crate::remote::connector::Checksum;
use crate::remote::engine::Engine;
use crate::remote::failure::kind_of;
use crate::remote::object::{Object, RemoteFile};
use crate::remote::plain::{self, PlainUrl};
use crate::remote::reach::Reach;
use crate::remote::reader::Reader;
use crate::remote::{listing, runtime};
use crate::{LazyFile, RelPath, Root, RootOptions};

/// A request whose answer does not go on for so long has failed.
const READ_PATIENCE: Duration = Duration::from_secs(15);
/// The same for one that sends: the body counts as well.
const WRITE_PATIENCE: Duration = Duration::from_secs(300);

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
pub struct Store(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) address: Address,
    options: StoreOptions,
    runtime: Handle,
    clients: Clients,
    /// For what sends bodies; opened when first needed.
    writers: OnceLock<Clients>,
    /// For small calls; segments have their own.
    connections: Semaphore,
    /// What fetches segments; made when first needed.
    engine: OnceLock<Arc<Engine>>,
    /// The folder of a store that is one. None: it cannot be opened.
    folder: OnceLock<Option<Arc<Root>>>,
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
        let address = Address::parse(address).map_err(|text| StoreError {
            what: "cannot use the store's address".to_owned(),
            kind: StoreErrorKind::Misconfigured(text),
        })?;
        let failed = |kind| StoreError { what: format!("cannot open the store {}", address.text), kind };
        let runtime = runtime::handle().map_err(|error| {
            failed(StoreErrorKind::Unavailable(format!("the system gives no threads for it: {error}")))
        })?;
        // An eighth for small calls. Two clients make them, and each keeps half of its connections.
        let connections = (options.connections / 8).clamp(1, Semaphore::MAX_PERMITS);
        let idle = (connections / 2).max(1);
        let clients =
            Clients::open(&address, Use { connections: idle, patience: READ_PATIENCE }).map_err(failed)?;
        Ok(Store(Arc::new(Inner {
            address,
            options: options.clone(),
            runtime,
            clients,
            writers: OnceLock::new(),
            connections: Semaphore::new(connections),
            engine: OnceLock::new(),
            folder: OnceLock::new(),
        })))
    }

    /// The address it was opened by, without anything secret.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.0.address.text
    }

    /// What the store knows of an object, its CRC-32 too where it can tell from a head alone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn head(&self, key: &str) -> Result<Object, StoreError> {
        self.look(key).await.map(|(object, _)| object)
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
        let path = self.path(key)?;
        let if_none_match = unless_etag.map(str::to_owned);
        self.call("read", key, |inner| async move {
            let options = GetOptions { if_none_match, ..GetOptions::default() };
            let result = match inner.clients.calls.get_opts(&path, options).await {
                Ok(result) => result,
                Err(object_store::Error::NotModified { .. }) => return Ok(Small::NotModified),
                Err(error) => return Err(kind_of(&error)),
            };
            let too_big = || StoreErrorKind::TooBig { limit };
            if usize::try_from(result.meta.size).map_or(true, |size| size > limit) {
                return Err(too_big());
            }
            let object = inner.object(&result.meta, None);
            let mut bytes = Vec::with_capacity(result.meta.size as usize);
            let mut stream = result.into_stream();
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.map_err(|error| kind_of(&error))?;
                if bytes.len() + chunk.len() > limit {
                    return Err(too_big());
                }
                bytes.extend_from_slice(&chunk);
            }
            if bytes.len() as u64 != object.size {
                let text = format!("{} bytes were announced and {} came", object.size, bytes.len());
                return Err(StoreErrorKind::Unavailable(text));
            }
            Ok(Small::Read { bytes: bytes.into(), object })
        })
        .await
    }

    /// All objects whose keys lie below the folder `prefix` (empty: all), sorted by key.
    ///
    /// # Errors
    /// [`StoreError`]; `TooBig` for more than `limit`.
    pub async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<Object>, StoreError> {
        let folder = self.path(prefix)?;
        self.call("list", prefix, |inner| async move {
            let mut objects = Vec::new();
            let mut stream = inner.clients.calls.list((!folder.is_root()).then_some(&folder));
            while let Some(meta) = stream.try_next().await.map_err(|error| kind_of(&error))? {
                let object = inner.object(&meta, None);
                // A folder's own marker is not below it, and who says "a" does not mean "ab".
                if listing::is_below(&folder, &meta.location) {
                    objects.push(object);
                }
                if objects.len() > limit {
                    return Err(StoreErrorKind::TooBig { limit });
                }
            }
            objects.sort_unstable_by(|one, other| one.key.cmp(&other.key));
            listing::drop_markers(&mut objects);
            Ok(objects)
        })
        .await
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
        let folder = self.path(prefix)?;
        self.call("list", prefix, |inner| async move {
            let result = inner.clients.calls.list_with_delimiter((!folder.is_root()).then_some(&folder));
            let result = result.await.map_err(|error| kind_of(&error))?;
            if result.common_prefixes.len() + result.objects.len() > limit {
                return Err(StoreErrorKind::TooBig { limit });
            }
            let folders = result.common_prefixes.iter().filter(|path| listing::is_below(&folder, path));
            let mut folders: Vec<String> =
                folders.filter_map(|path| path.filename().map(str::to_owned)).collect();
            folders.sort_unstable();
            folders.dedup();
            let objects = result.objects.iter().filter(|meta| listing::is_below(&folder, &meta.location));
            let objects = objects.filter(|meta| {
                let name = meta.location.filename().unwrap_or_default();
                meta.size > 0 || folders.binary_search_by(|folder| folder.as_str().cmp(name)).is_err()
            });
            let mut objects: Vec<Object> = objects.map(|meta| inner.object(meta, None)).collect();
            objects.sort_unstable_by(|one, other| one.key.cmp(&other.key));
            Ok((folders, objects))
        })
        .await
    }

    /// Writes a small object, whole or not at all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put(&self, key: &str, bytes: Bytes, media_type: &str) -> Result<(), StoreError> {
        let path = self.path(key)?;
        let media_type = media_type.to_owned();
        self.call("write", key, |inner| async move {
            let mut options = PutOptions::default();
            // A file has no place for its type.
            if !matches!(inner.address.place, Place::File { .. }) {
                options.attributes = Attributes::from_iter([(Attribute::ContentType, media_type)]);
            }
            let payload = PutPayload::from_bytes(bytes);
            let put = inner.writers()?.calls.put_opts(&path, payload, options).await;
            put.map(|_| ()).map_err(|error| kind_of(&error))
        })
        .await
    }

    /// Deletes an object; one that is not there counts as deleted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path(key)?;
        self.call("delete", key, |inner| async move {
            match inner.clients.calls.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => match kind_of(&error) {
                    StoreErrorKind::NotFound => Ok(()),
                    kind => Err(kind),
                },
            }
        })
        .await
    }

    /// The CRC-32 of all bytes of an object, if the store can tell without sending them. None also when the store
    /// has another object by now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn crc32(&self, object: &Object) -> Result<Option<u32>, StoreError> {
        if object.crc32.is_some() || self.0.clients.s3.is_none() {
            return Ok(object.crc32);
        }
        let (seen, checksum) = self.look(&object.key).await?;
        if seen.size != object.size || (object.etag.is_some() && seen.etag != object.etag) {
            return Ok(None);
        }
        if checksum != Some(Checksum::Parts) {
            return Ok(seen.crc32);
        }
        let path = self.path(&object.key)?;
        let combined = self
            .call("ask for the checksums of", &object.key, |inner| async move {
                let Some(s3) = &inner.clients.s3 else { return Ok(None) };
                s3.combined_crc32(&path, &seen).await
            })
            .await;
        match combined {
            // Many servers have no such request, and rights for it can be missing. That is no failure.
            Err(StoreError { kind, what }) if !matches!(kind, StoreErrorKind::Unavailable(_)) => {
                tracing::debug!("{what}: {kind}");
                Ok(None)
            }
            combined => combined,
        }
    }

    /// The CRC-32 of all bytes of an object: what the store knows, or computed by reading them.
    ///
    /// # Errors
    /// [`SpanError`].
    pub async fn compute_crc32(&self, object: Arc<Object>) -> Result<u32, SpanError> {
        let name = object.key.clone();
        let failed = |error: StoreError| SpanError::Other { name: name.clone(), source: Box::new(error) };
        if let Ok(Some(crc32)) = self.crc32(&object).await {
            return Ok(crc32);
        }
        // The key is sound, or there will be nothing to read.
        self.path(&object.key).map_err(failed)?;
        let mut crc32 = crc32fast::Hasher::new();
        let mut reader = Reader::new(self.engine(), &object, 0..object.size);
        while let Some(bytes) = poll_fn(|cx| reader.poll_next(cx)).await {
            crc32.update(&bytes?);
        }
        Ok(crc32.finalize())
    }

    /// The bytes of an object. It has to be the same whenever some of them leave.
    #[must_use]
    pub fn file(&self, object: Arc<Object>) -> RemoteFile {
        RemoteFile::new(self.clone(), object)
    }

    /// Waits for `future`, which may use this store. Only for threads that may block: inside of a task it panics.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.runtime.block_on(future)
    }
}

/// For the rooms beside this one.
impl Store {
    /// The threads whose connections all of the clients use: nothing may be asked from others.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    /// The client for segments: it does not try again, and gives up after 15 s without a byte.
    pub(crate) fn reader(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.0.clients.reader)
    }

    /// What fetches segments.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.0.engine.get_or_init(|| {
            let options = &self.0.options;
            let segments = options.connections.saturating_sub(options.connections / 8);
            let reach = Reach::new(&self.0, self.0.runtime.clone());
            Engine::new(Arc::new(reach), segments, options.segment_memory, options.hedge)
        })
    }

    /// Where `key` is for the clients; the empty key is the store itself.
    pub(crate) fn path(&self, key: &str) -> Result<Path, StoreError> {
        let prefix = &self.0.address.prefix;
        let wrong = || StoreError {
            what: format!("cannot use the key {}", printable(key.as_bytes())),
            kind: StoreErrorKind::Misconfigured(
                "it has an empty component, \".\", \"..\" or a control character".to_owned(),
            ),
        };
        let path = Path::parse(key).ok().filter(|path| path.as_ref() == key).ok_or_else(wrong)?;
        match (prefix.is_root(), path.is_root()) {
            (true, _) => Ok(path),
            (_, true) => Ok(prefix.clone()),
            _ => Path::parse(format!("{prefix}/{path}")).map_err(|_| wrong()),
        }
    }

    /// Where `object` can be had by plain HTTP without a library: presigned for S3. None if the store speaks TLS,
    /// or through a proxy, or no HTTP at all.
    pub(crate) async fn plain_url(&self, object: &Object) -> Result<Option<PlainUrl>, StoreError> {
        let path = self.path(&object.key)?;
        if let Place::Http { url } = &self.0.address.place {
            let mut url = url.clone();
            if let Ok(mut segments) = url.path_segments_mut() {
                segments.extend(path.parts());
            }
            return Ok(PlainUrl::of(&url, false).filter(|_| !plain::has_proxy()));
        }
        if !self.is_plain() {
            return Ok(None);
        }
        let (inner, version) = (Arc::clone(&self.0), object.version.clone());
        let sign = async move {
            let Some(s3) = &inner.clients.s3 else { return Ok(None) };
            let url = s3.signed_url(&path, version.as_deref(), plain::VALID).await?;
            Ok(PlainUrl::of(&url, s3.signs))
        };
        // Not by `call`: whoever asks holds a connection already.
        let signed = runtime::run(&self.0.runtime, sign).await.unwrap_or(Ok(None));
        signed.map_err(|kind| StoreError {
            what: format!("cannot sign a request for {}", printable(object.key.as_bytes())),
            kind,
        })
    }

    /// Whether it is a folder of this machine.
    pub(crate) fn is_folder(&self) -> bool {
        matches!(self.0.address.place, Place::File { .. })
    }

    /// An object as a file that the kernel can send, if the store is a folder.
    pub(crate) fn local_file(&self, object: &Object) -> Option<LazyFile> {
        let Place::File { path } = &self.0.address.place else { return None };
        let open = || {
            let options = RootOptions { follow_symlinks: false, hidden: true };
            let root = Root::new(path, options);
            root.inspect_err(|error| tracing::warn!(folder = %path.display(), %error, "the store's folder cannot be opened")).ok().map(Arc::new)
        };
        let root = self.0.folder.get_or_init(open).as_ref()?;
        let path = RelPath::new(object.key.as_bytes()).ok()?;
        Some(LazyFile::of_object(Arc::clone(root), path, object.size, object.etag.as_deref()))
    }

    /// Whether [`Store::plain_url`] has something to say.
    pub(crate) fn is_plain(&self) -> bool {
        let speaks_plainly = match (&self.0.address.place, &self.0.clients.s3) {
            (Place::Http { url }, _) => url.scheme() == "http",
            (_, Some(s3)) => s3.is_plain,
            _ => false,
        };
        speaks_plainly && !plain::has_proxy()
    }

    /// A head, and what it says of the checksum.
    async fn look(&self, key: &str) -> Result<(Object, Option<Checksum>), StoreError> {
        let path = self.path(key)?;
        self.call("look at", key, |inner| async move {
            let options = GetOptions { head: true, ..GetOptions::default() };
            let result = match &inner.clients.s3 {
                Some(s3) => s3.heads.get_opts(&path, options).await,
                None => inner.clients.calls.get_opts(&path, options).await,
            };
            let result = result.map_err(|error| kind_of(&error))?;
            let checksum = result.extensions.get::<Checksum>().copied();
            Ok((inner.object(&result.meta, checksum), checksum))
        })
        .await
    }

    /// Does `work` on the store's own threads. Whoever stops waiting stops it.
    pub(crate) async fn call<T, F>(
        &self,
        verb: &str,
        key: &str,
        work: impl FnOnce(Arc<Inner>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreErrorKind>> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        let work = work(Arc::clone(&inner));
        let done = runtime::run(&self.0.runtime, async move {
            let _permit = inner.connections.acquire().await;
            work.await
        });
        let done = done.await.unwrap_or_else(|| {
            Err(StoreErrorKind::Unavailable("the work was ended by a fault of the program".to_owned()))
        });
        done.map_err(|kind| {
            let place = self.address();
            let what = match key {
                "" => format!("cannot {verb} {place}"),
                key => format!("cannot {verb} {} in {place}", printable(key.as_bytes())),
            };
            StoreError { what, kind }
        })
    }
}

impl Inner {
    /// The clients for what sends bodies.
    pub(crate) fn writers(&self) -> Result<&Clients, StoreErrorKind> {
        if let Some(writers) = self.writers.get() {
            return Ok(writers);
        }
        let usage = Use { connections: self.options.connections, patience: WRITE_PATIENCE };
        let writers = Clients::open(&self.address, usage)?;
        Ok(self.writers.get_or_init(|| writers))
    }

    fn object(&self, meta: &ObjectMeta, checksum: Option<Checksum>) -> Object {
        let key = meta.location.as_ref();
        let prefix = self.address.prefix.as_ref();
        let key = key.strip_prefix(prefix).unwrap_or(key).trim_start_matches('/').to_owned();
        // 1970 stands for a server that did not say.
        let modified = meta.last_modified.timestamp_nanos_opt().filter(|nanos| *nanos != 0);
        // A weak tag never matches in If-Match.
        let etag = meta.e_tag.clone().filter(|etag| !etag.starts_with("W/"));
        // The lists of some stores leave the quotes out.
        let etag = etag.map(|etag| if etag.starts_with('"') { etag } else { format!("\"{etag}\"") });
        let crc32 = match checksum {
            Some(Checksum::Whole(crc32)) => Some(crc32),
            _ => None,
        };
        Object { key, size: meta.size, etag, version: meta.version.clone(), modified, crc32 }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.address())
    }
}
