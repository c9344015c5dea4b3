//! One file on its way into a store: with one request or in parts, and never half.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, MultipartUpload, ObjectStore as _, PutMultipartOptions, PutOptions, PutPayload,
};
use outflow_content::printable;

use crate::client::failure::kind_of;
use crate::error::{StoreError, StoreErrorKind};
use crate::runtime;
use crate::store::{OpenStore, Store};
use crate::upload::uploads::{UploadError, UploadFailure, UploadFile, Uploaded, Uploads};

/// Files up to this size are sent with one request; larger ones in parts of at least this size.
///
/// Bound: object stores.
pub(super) const PART: u64 = 16 << 20;
/// Maximum number of parts that S3 accepts.
///
/// Bound: object stores.
const MAX_PARTS: u64 = 10_000;

impl Store {
    /// Uploads `file` as `key`. It replaces an object of that name, and appears whole or not at
    /// all. A store that can checks the CRC-32 of the bytes that arrive.
    ///
    /// # Errors
    /// [`UploadError`]; `File` with the file's name if it was changed meanwhile.
    pub async fn upload(
        &self,
        key: &str,
        file: &UploadFile,
        media_type: &str,
        uploads: &Arc<Uploads>,
    ) -> Result<Uploaded, UploadError> {
        let job = UploadJob {
            store: Arc::clone(&self.0),
            path: self.path(key)?,
            file: file.clone(),
            media_type: media_type.to_owned(),
            uploads: Arc::clone(uploads),
        };
        let done = runtime::run(self.runtime(), async move { job.run().await }).await;
        let fault = || StoreErrorKind::Unavailable("the work was ended by a fault of the program".to_owned());
        done.unwrap_or_else(|| Err(UploadFailure::Store(fault()))).map_err(|failure| match failure {
            UploadFailure::File(error) => UploadError::File(error),
            UploadFailure::Stopped => UploadError::Stopped,
            UploadFailure::Store(kind) => {
                let what = format!("cannot write {} in {}", printable(key.as_bytes()), self.address());
                UploadError::Store(StoreError { what, kind })
            }
        })
    }
}

/// One upload.
pub(crate) struct UploadJob {
    pub(crate) store: Arc<OpenStore>,
    pub(crate) path: Path,
    pub(crate) file: UploadFile,
    pub(crate) media_type: String,
    pub(crate) uploads: Arc<Uploads>,
}

impl UploadJob {
    async fn run(self) -> Result<Uploaded, UploadFailure> {
        #[cfg(feature = "s3")]
        if let Some(done) = self.checked().await {
            return done;
        }
        if self.file.size <= PART { self.put().await } else { self.parts().await }
    }

    /// With one request.
    async fn put(&self) -> Result<Uploaded, UploadFailure> {
        let _lane = self.lane().await?;
        let (bytes, crc32) = self.whole().await?;
        let options = PutOptions { attributes: self.attributes(), ..PutOptions::default() };
        let clients = self.store.writers()?;
        let put = clients.calls.put_opts(&self.path, PutPayload::from_bytes(bytes), options);
        let result = self.or_stop(async { put.await.map_err(|error| kind_of(&error).into()) }).await?;
        self.count(self.file.size);
        Ok(Uploaded { etag: result.e_tag, crc32, size: self.file.size })
    }

    /// In parts, by the library.
    async fn parts(&self) -> Result<Uploaded, UploadFailure> {
        let options = PutMultipartOptions { attributes: self.attributes(), ..PutMultipartOptions::default() };
        let clients = self.store.writers()?;
        let begun = clients.calls.put_multipart_opts(&self.path, options).await;
        let mut upload = begun.map_err(|error| match kind_of(&error) {
            StoreErrorKind::Unsupported(_) => StoreErrorKind::Unsupported(format!(
                "files of more than {} MiB can only be sent in parts, which this kind of store does not take",
                PART >> 20
            )),
            kind => kind,
        })?;
        let done = match self.or_stop(self.send_parts(&mut *upload)).await {
            Ok(crc32) => {
                let complete = upload.complete().await;
                complete.map(|result| (result, crc32)).map_err(|error| kind_of(&error).into())
            }
            Err(failure) => Err(failure),
        };
        match done {
            Ok((result, crc32)) => Ok(Uploaded { etag: result.e_tag, crc32, size: self.file.size }),
            Err(failure) => {
                if let Err(error) = upload.abort().await {
                    tracing::debug!("an upload could not be taken back: {}", kind_of(&error));
                }
                Err(failure)
            }
        }
    }

    async fn send_parts(&self, upload: &mut dyn MultipartUpload) -> Result<u32, UploadFailure> {
        let mut whole = crc32fast::Hasher::new();
        let mut under_way = FuturesUnordered::new();
        for index in 0..self.part_count() {
            // The library numbers the parts in this order; the lanes bound the memory.
            let lane = loop {
                tokio::select! {
                    biased;
                    done = under_way.next(), if !under_way.is_empty() => {
                        done.unwrap_or(Ok::<(), UploadFailure>(()))?;
                    }
                    lane = self.lane() => break lane?,
                }
            };
            let (bytes, crc32) = self.part(index).await?;
            let len = bytes.len() as u64;
            whole.combine(&crc32fast::Hasher::new_with_initial_len(crc32, len));
            let part = upload.put_part(PutPayload::from_bytes(bytes));
            under_way.push(async move {
                part.await.map_err(|error| UploadFailure::Store(kind_of(&error)))?;
                self.count(len);
                drop(lane);
                Ok(())
            });
        }
        while under_way.try_next().await?.is_some() {}
        self.file.verify()?;
        Ok(whole.finalize())
    }

    pub(crate) fn part_size(&self) -> u64 {
        let least = self.file.size.div_ceil(MAX_PARTS);
        PART.max(least.next_multiple_of(1 << 20))
    }

    pub(crate) fn part_count(&self) -> u64 {
        self.file.size.div_ceil(self.part_size())
    }

    /// A small file's bytes and their CRC-32; it is still the same file.
    pub(crate) async fn whole(&self) -> Result<(Bytes, u32), UploadFailure> {
        let read = self.read(0, self.file.size).await?;
        self.file.verify()?;
        Ok(read)
    }

    pub(crate) async fn part(&self, index: u64) -> Result<(Bytes, u32), UploadFailure> {
        let offset = index * self.part_size();
        self.read(offset, self.part_size().min(self.file.size - offset)).await
    }

    async fn read(&self, offset: u64, len: u64) -> Result<(Bytes, u32), UploadFailure> {
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
            let mut done = 0;
            while done < bytes.len() {
                let at = offset + done as u64;
                match file.read_at(&mut bytes[done..], at)? {
                    0 => return Err(file.truncated(at)),
                    read => done += read,
                }
            }
            let crc32 = crc32fast::hash(&bytes);
            Ok((Bytes::from(bytes), crc32))
        });
        let fault = |_| StoreErrorKind::Unavailable("reading was ended by a fault of the program".to_owned());
        Ok(read.await.map_err(fault)??)
    }

    pub(crate) async fn lane(&self) -> Result<tokio::sync::SemaphorePermit<'_>, UploadFailure> {
        self.uploads.lanes.acquire().await.map_err(|_| UploadFailure::Stopped)
    }

    pub(crate) fn count(&self, bytes: u64) {
        self.uploads.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) async fn or_stop<T>(
        &self,
        work: impl Future<Output = Result<T, UploadFailure>>,
    ) -> Result<T, UploadFailure> {
        tokio::select! {
            done = work => done,
            () = self.uploads.stopped() => Err(UploadFailure::Stopped),
        }
    }

    fn attributes(&self) -> Attributes {
        if self.store.kind.keeps_media_types {
            Attributes::from_iter([(Attribute::ContentType, self.media_type.clone())])
        } else {
            Attributes::new()
        }
    }
}
