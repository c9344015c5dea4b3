//! An opened store: heads, lists, small reads and writes.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutOptions,
    PutPayload,
};
use outflow_content::{Feed as _, Source, SpanError, UnixTime, printable};
use outflow_metrics::MetricRegistry;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::client::address::StoreAddress;
use crate::client::connector::Checksum;
use crate::client::failure::kind_of;
use crate::client::kind::{Backend, ConnectionUse, StoreKind};
use crate::client::kinds::{KINDS, parse};
use crate::error::{StoreError, StoreErrorKind};
use crate::fetch::{Engine, ObjectReader, ObjectSource, StoreFacts};
use crate::key::path_of;
use crate::metrics::{StoreMetrics, StoreRequest};
use crate::object::Object;
use crate::{listing, runtime};

/// Time without a byte of an answer after which a request has failed.
///
/// Bound: object stores.
const READ_PATIENCE: Duration = Duration::from_secs(15);
/// Time without progress after which a request that sends a body has failed.
///
/// Bound: object stores.
const WRITE_PATIENCE: Duration = Duration::from_secs(300);

/// How a store is used.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Maximum number of connections to the store.
    ///
    /// Bound: object stores. 64, an eighth of them for small requests
    pub connections: usize,
    /// Maximum memory of all segments together, in bytes.
    ///
    /// Bound: object stores. 256 MiB
    pub segment_memory: usize,
    /// Sends a second request when the first is late and a recipient waits.
    pub hedge: bool,
    /// Where the store counts. Several with the same registry are counted together.
    pub metrics: MetricRegistry,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            connections: 64,
            segment_memory: 256 << 20,
            hedge: false,
            metrics: MetricRegistry::default(),
        }
    }
}

/// A store that was opened by its address. Clones are the same store. All calls may be made from
/// any runtime: the work is done on threads of the store's own.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<OpenStore>);

pub(crate) struct OpenStore {
    pub(crate) kind: &'static StoreKind,
    address: StoreAddress,
    options: StoreOptions,
    runtime: Handle,
    backend: Backend,
    /// For what sends bodies; opened when first needed.
    writers: OnceLock<Backend>,
    /// Permits for small calls; segments have their own.
    connections: Semaphore,
    /// Fetches segments.
    engine: Arc<Engine>,
    metrics: Arc<StoreMetrics>,
}

/// A small object that was read whole.
#[derive(Clone, Debug)]
pub enum SmallRead {
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

impl Store {
    /// Opens `address`, which is of one of the [`KINDS`]. Endpoint, region and credentials come
    /// from the usual environment. Asks the store nothing.
    ///
    /// # Errors
    /// [`StoreErrorKind::Misconfigured`], with what to do.
    pub fn open(address: &str, options: &StoreOptions) -> Result<Store, StoreError> {
        Store::open_among(KINDS, address, options)
    }

    /// Opens `address`, which is of one of these `kinds`: for kinds that are defined elsewhere.
    ///
    /// # Errors
    /// [`StoreErrorKind::Misconfigured`], with what to do.
    pub fn open_among(
        kinds: &[&'static StoreKind],
        address: &str,
        options: &StoreOptions,
    ) -> Result<Store, StoreError> {
        let (kind, address) = parse(kinds, address).map_err(|text| StoreError {
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
        let usage = ConnectionUse { connections: idle, read_timeout: READ_PATIENCE };
        let backend = (kind.open)(&address, usage).map_err(failed)?;
        let facts = StoreFacts {
            client: Arc::clone(&backend.segments),
            prefix: address.prefix.clone(),
            plain: backend.plain.clone(),
            runtime: runtime.clone(),
            connections: options.connections.saturating_sub(options.connections / 8),
            hedge: options.hedge,
            registry: options.metrics.clone(),
        };
        Ok(Store(Arc::new(OpenStore {
            kind,
            address,
            options: options.clone(),
            runtime,
            backend,
            writers: OnceLock::new(),
            connections: Semaphore::new(connections),
            engine: Engine::new(facts, options.segment_memory),
            metrics: options.metrics.set(),
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
        self.describe(key).await.map(|(object, _)| object)
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
    ) -> Result<SmallRead, StoreError> {
        let path = self.path(key)?;
        let if_none_match = unless_etag.map(str::to_owned);
        self.call(StoreRequest::Read, key, |inner| async move {
            let options = GetOptions { if_none_match, ..GetOptions::default() };
            let result = match inner.backend.calls.get_opts(&path, options).await {
                Ok(result) => result,
                Err(object_store::Error::NotModified { .. }) => return Ok(SmallRead::NotModified),
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
            Ok(SmallRead::Read { bytes: bytes.into(), object })
        })
        .await
    }

    /// All objects whose keys lie below the folder `prefix` (empty: all), sorted by key.
    ///
    /// # Errors
    /// [`StoreError`]; `TooBig` for more than `limit`.
    pub async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<Object>, StoreError> {
        let folder = self.path(prefix)?;
        self.call(StoreRequest::List, prefix, |inner| async move {
            let mut objects = Vec::new();
            let mut stream = inner.backend.calls.list((!folder.is_root()).then_some(&folder));
            while let Some(meta) = stream.try_next().await.map_err(|error| kind_of(&error))? {
                let object = inner.object(&meta, None);
                // A folder's own marker is not below it, and "a" does not mean "ab".
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

    /// What lies directly in the folder `prefix` (empty: the top): names of folders, and objects.
    /// Both are sorted.
    ///
    /// # Errors
    /// [`StoreError`]; `TooBig` for more than `limit`.
    pub async fn list_folder(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<(Vec<String>, Vec<Object>), StoreError> {
        let folder = self.path(prefix)?;
        self.call(StoreRequest::List, prefix, |inner| async move {
            let result = inner.backend.calls.list_with_delimiter((!folder.is_root()).then_some(&folder));
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
        self.call(StoreRequest::Write, key, |inner| async move {
            let mut options = PutOptions::default();
            if inner.kind.keeps_media_types {
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
        self.call(StoreRequest::Delete, key, |inner| async move {
            match inner.backend.calls.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => match kind_of(&error) {
                    StoreErrorKind::NotFound => Ok(()),
                    kind => Err(kind),
                },
            }
        })
        .await
    }

    /// The CRC-32 of all bytes of an object, if the store can tell without sending them. None also
    /// when the store has another object by now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn crc32(&self, object: &Object) -> Result<Option<u32>, StoreError> {
        #[cfg(feature = "s3")]
        if object.crc32.is_none() && self.0.backend.s3.is_some() {
            return self.requested_crc32(object).await;
        }
        Ok(object.crc32)
    }

    #[cfg(feature = "s3")]
    async fn requested_crc32(&self, object: &Object) -> Result<Option<u32>, StoreError> {
        let (seen, checksum) = self.describe(&object.key).await?;
        if seen.size != object.size || (object.etag.is_some() && seen.etag != object.etag) {
            return Ok(None);
        }
        if checksum != Some(Checksum::Parts) {
            return Ok(seen.crc32);
        }
        let path = self.path(&object.key)?;
        let combined = self
            .call(StoreRequest::Checksum, &object.key, |inner| async move {
                let Some(s3) = &inner.backend.s3 else { return Ok(None) };
                s3.combined_crc32(&path, &seen).await
            })
            .await;
        match combined {
            // Many servers have no such request, or refuse it. That is no failure.
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
        // An invalid key has nothing to read.
        self.path(&object.key).map_err(failed)?;
        let mut crc32 = crc32fast::Hasher::new();
        let mut reader = ObjectReader::new(&self.0.engine, &object, 0..object.size);
        while let Some(bytes) = poll_fn(|cx| reader.poll_next(cx)).await {
            crc32.update(&bytes?);
        }
        Ok(crc32.finalize())
    }

    /// The bytes of an object. It has to be the same whenever some of them leave.
    #[must_use]
    pub fn source(&self, object: Arc<Object>) -> Arc<dyn Source> {
        let near = self.0.backend.bytes.as_ref().and_then(|bytes| bytes.source(&object));
        near.unwrap_or_else(|| Arc::new(ObjectSource::new(Arc::clone(&self.0.engine), object)))
    }

    /// Whether the bytes of its objects are fetched with requests, so that it pays to begin early.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.0.backend.bytes.is_none()
    }

    /// Waits for `future`, which may use this store. Only for threads that may block: inside of a
    /// task it panics.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.runtime.block_on(future)
    }
}

/// For sibling modules.
impl Store {
    /// The runtime that owns the connections of all clients: every request is made on it.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    /// Where `key` is for the clients; the empty key is the store itself.
    pub(crate) fn path(&self, key: &str) -> Result<Path, StoreError> {
        path_of(&self.0.address.prefix, key).map_err(|kind| StoreError {
            what: format!("cannot use the key {}", printable(key.as_bytes())),
            kind,
        })
    }

    /// A head, and what it says of the checksum.
    async fn describe(&self, key: &str) -> Result<(Object, Option<Checksum>), StoreError> {
        let path = self.path(key)?;
        self.call(StoreRequest::Head, key, |inner| async move {
            let options = GetOptions { head: true, ..GetOptions::default() };
            let result =
                inner.backend.heads().get_opts(&path, options).await.map_err(|error| kind_of(&error))?;
            let checksum = result.extensions.get::<Checksum>().copied();
            Ok((inner.object(&result.meta, checksum), checksum))
        })
        .await
    }

    /// Runs `work` on the store's threads. Dropping the future aborts it.
    pub(crate) async fn call<T, F>(
        &self,
        request: StoreRequest,
        key: &str,
        work: impl FnOnce(Arc<OpenStore>) -> F,
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
        self.0.metrics.called(request, &done);
        done.map_err(|kind| {
            let verb = request.verb();
            let place = self.address();
            let what = match key {
                "" => format!("cannot {verb} {place}"),
                key => format!("cannot {verb} {} in {place}", printable(key.as_bytes())),
            };
            StoreError { what, kind }
        })
    }
}

impl OpenStore {
    /// The clients for what sends bodies.
    pub(crate) fn writers(&self) -> Result<&Backend, StoreErrorKind> {
        if let Some(writers) = self.writers.get() {
            return Ok(writers);
        }
        let usage = ConnectionUse { connections: self.options.connections, read_timeout: WRITE_PATIENCE };
        let writers = (self.kind.open)(&self.address, usage)?;
        Ok(self.writers.get_or_init(|| writers))
    }

    fn object(&self, meta: &ObjectMeta, checksum: Option<Checksum>) -> Object {
        let key = meta.location.as_ref();
        let prefix = self.address.prefix.as_ref();
        let key = key.strip_prefix(prefix).unwrap_or(key).trim_start_matches('/').to_owned();
        // 1970 stands for a server that did not say.
        let modified = meta.last_modified.timestamp_nanos_opt().filter(|nanos| *nanos != 0);
        let modified = modified.map(UnixTime::from_nanos);
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

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::fetch::{PlainAddresses, has_proxy};

    #[test]
    fn objects_of_plain_origins_have_one() {
        let of = |address: &str| {
            let store = Store::open(address, &StoreOptions::default()).unwrap();
            let path = store.path("a b/c%?.txt").unwrap();
            match &store.0.backend.plain {
                Some(PlainAddresses::Open(address)) => address(&path).map(|url| (url.authority, url.target)),
                _ => None,
            }
        };
        let expected = ("h:81".to_owned(), "/x/a%20b/c%25%3F.txt".to_owned());
        // A machine whose plain HTTP goes through a proxy has none.
        if !has_proxy() {
            assert_eq!(of("http://h:81/x/"), Some(expected));
        }
        assert!(Backend::new(Arc::new(InMemory::new())).plain.is_none());
    }
}
