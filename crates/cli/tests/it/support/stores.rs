//! `outflow` with an S3 store, and the store's content by a client that is not ours.

use std::process::Command;
use std::sync::Once;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _};
use tokio::runtime::Runtime;

use super::{BUCKET, S3Access, Setup, binary};

/// What tests do with an S3 server.
pub(crate) trait StoreAccess {
    /// `outflow` with the server's environment, for commands that end.
    fn binary(&self) -> Command;

    /// `outflow serve` of the objects below `prefix`.
    fn serve(&self, prefix: &str) -> Setup;

    /// The bucket by a client that is not ours.
    fn bucket(&self) -> Bucket;
}

impl StoreAccess for S3Access {
    fn binary(&self) -> Command {
        let mut command = binary();
        command.envs(self.env());
        command
    }

    fn serve(&self, prefix: &str) -> Setup {
        let address = format!("s3://{BUCKET}/{prefix}");
        self.env().into_iter().fold(Setup::of(address), |setup, (name, value)| setup.env(name, value))
    }

    fn bucket(&self) -> Bucket {
        static TLS: Once = Once::new();
        // The client wants to know who encrypts, even where nobody does.
        TLS.call_once(|| _ = rustls::crypto::ring::default_provider().install_default());
        let client = AmazonS3Builder::new()
            .with_endpoint(&self.endpoint)
            .with_bucket_name(BUCKET)
            .with_region(&self.region)
            .with_access_key_id(&self.key)
            .with_secret_access_key(&self.secret)
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .build()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Bucket { client, runtime }
    }
}

/// A bucket, to read and change its objects.
pub(crate) struct Bucket {
    client: AmazonS3,
    runtime: Runtime,
}

impl Bucket {
    /// Puts an object, and returns its ETag.
    pub(crate) fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) -> String {
        let (key, bytes) = (Key::parse(key).unwrap(), bytes.into());
        self.runtime.block_on(self.client.put(&key, bytes.into())).unwrap().e_tag.unwrap()
    }

    #[track_caller]
    pub(crate) fn get(&self, key: &str) -> Vec<u8> {
        let key = Key::parse(key).unwrap();
        let read = async { self.client.get(&key).await?.bytes().await };
        self.runtime.block_on(read).unwrap_or_else(|error| panic!("{key}: {error}")).into()
    }

    /// All keys that begin with `prefix`, in order.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut objects = self.client.list(None);
        self.runtime.block_on(async {
            while let Some(object) = futures_util::StreamExt::next(&mut objects).await {
                keys.push(object.unwrap().location.to_string());
            }
        });
        keys.retain(|key| key.starts_with(prefix));
        keys.sort();
        keys
    }
}
