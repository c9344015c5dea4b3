//! From an address and the environment to clients.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use crate::remote::address::{Address, Place};
use crate::remote::connector::Connector;
use crate::remote::failure::kind_of;
use crate::remote::profile;
use crate::remote::s3::S3;
use crate::remote::store::StoreErrorKind;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The clients of one store, all on the same connections.
pub(crate) struct Clients {
    /// For small calls: tries again by itself.
    pub(crate) calls: Arc<dyn ObjectStore>,
    /// For segments: one try, whoever asked knows better.
    pub(crate) reader: Arc<dyn ObjectStore>,
    /// What only S3 can.
    pub(crate) s3: Option<S3>,
}

/// What connections are made for.
#[derive(Clone, Copy)]
pub(crate) struct Use {
    /// Idle connections that are kept.
    pub(crate) connections: usize,
    /// The time without a byte of an answer after which a request has failed. Sending a body counts as well.
    pub(crate) patience: Duration,
}

impl Clients {
    /// # Errors
    /// `Misconfigured`, with what to do.
    pub(crate) fn open(address: &Address, usage: Use) -> Result<Clients, StoreErrorKind> {
        // All of TLS here is rustls with ring. If the program has chosen already, that is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        match &address.place {
            Place::S3 { bucket } => open_s3(bucket, usage),
            Place::Gcs { bucket } => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
                let base = builder.get_config_value(&GoogleConfigKey::BaseUrl);
                let connector = connector(options(is_plain(base.as_deref()), usage))?;
                let build = |retry| builder.clone().with_retry(retry).with_http_connector(connector.clone());
                let clients = pair(|retry| Ok(Arc::new(build(retry).build()?)));
                clients.map_err(|error| misconfigured("Google Cloud Storage", "GOOGLE_…", &error))
            }
            Place::Azure { container } => {
                let builder = MicrosoftAzureBuilder::from_env().with_container_name(container);
                let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
                let emulated = builder.get_config_value(&AzureConfigKey::UseEmulator);
                let plain = is_plain(endpoint.as_deref()) || emulated.as_deref() == Some("true");
                let options = options(plain, usage);
                let connector = connector(options.clone())?;
                let builder = builder.with_client_options(options);
                let build = |retry| builder.clone().with_retry(retry).with_http_connector(connector.clone());
                let clients = pair(|retry| Ok(Arc::new(build(retry).build()?)));
                clients.map_err(|error| misconfigured("Azure Blob Storage", "AZURE_…", &error))
            }
            Place::Http { url } => {
                let plain = url.scheme() == "http";
                let options = options(plain, usage).with_no_system_certificates(plain);
                let connector = connector(options.clone())?;
                let builder = HttpBuilder::new().with_url(url.as_str()).with_client_options(options);
                let build = |retry| builder.clone().with_retry(retry).with_http_connector(connector.clone());
                let clients = pair(|retry| Ok(Arc::new(build(retry).build()?)));
                clients.map_err(|error| misconfigured("the HTTP origin", "the address", &error))
            }
            Place::File { path } => {
                let store = LocalFileSystem::new_with_prefix(path).map_err(|_| {
                    StoreErrorKind::Misconfigured(format!(
                        "there is no folder {}, or it cannot be read; create it, or correct the address",
                        path.display()
                    ))
                })?;
                let store: Arc<dyn ObjectStore> = Arc::new(store.with_automatic_cleanup(true));
                Ok(Clients { calls: Arc::clone(&store), reader: store, s3: None })
            }
        }
    }
}

fn open_s3(bucket: &str, usage: Use) -> Result<Clients, StoreErrorKind> {
    use AmazonS3ConfigKey as Key;
    let wrong = |text: String| StoreErrorKind::Misconfigured(text);
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_disable_bulk_delete(true);
    let profile = profile::read(|name| std::env::var_os(name)).map_err(wrong)?;
    let has = |builder: &AmazonS3Builder, key| builder.get_config_value(&key).is_some_and(|v| !v.is_empty());
    let skips = builder.get_config_value(&Key::SkipSignature).as_deref() == Some("true");
    let asks_others = has(&builder, Key::WebIdentityTokenFile)
        || has(&builder, Key::ContainerCredentialsRelativeUri)
        || has(&builder, Key::ContainerCredentialsFullUri);
    if !has(&builder, Key::AccessKeyId) && !has(&builder, Key::SecretAccessKey) {
        if let (Some(key_id), Some(secret)) = (profile.key_id, profile.secret) {
            builder = builder.with_access_key_id(key_id).with_secret_access_key(secret);
            if let Some(token) = profile.token {
                builder = builder.with_token(token);
            }
        } else if let Some(key) = profile.elsewhere.filter(|_| !asks_others && !skips) {
            return Err(wrong(format!(
                "the AWS profile gets its credentials by {key}, which is not supported; put them into the environment \
                 with: eval \"$(aws configure export-credentials --format env)\""
            )));
        }
    }
    let is_static = has(&builder, Key::AccessKeyId) || skips;
    if !has(&builder, Key::Region)
        && let Some(region) = profile.region
    {
        builder = builder.with_region(region);
    }
    let endpoint =
        [Key::S3Endpoint, Key::Endpoint].into_iter().find_map(|key| builder.get_config_value(&key));
    let endpoint = endpoint.or(profile.endpoint).filter(|endpoint| !endpoint.is_empty());
    if let Some(endpoint) = &endpoint {
        let url = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| {
            wrong("the endpoint (AWS_ENDPOINT_URL) is no URL that begins with http:// or https://".to_owned())
        })?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(wrong(
                "the endpoint (AWS_ENDPOINT_URL) has credentials or a query in it; only scheme, host, port and path \
                 belong there"
                    .to_owned(),
            ));
        }
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    let region = builder.get_config_value(&Key::Region).unwrap_or_else(|| "us-east-1".to_owned());
    let virtual_hosted = builder.get_config_value(&Key::VirtualHostedStyleRequest).as_deref() == Some("true");
    let bucket_url = match (&endpoint, virtual_hosted) {
        (Some(endpoint), true) => endpoint.trim_end_matches('/').to_owned(),
        (Some(endpoint), false) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
        (None, true) => format!("https://{bucket}.s3.{region}.amazonaws.com"),
        (None, false) => format!("https://s3.{region}.amazonaws.com/{bucket}"),
    };
    let plain = is_plain(endpoint.as_deref());
    let encryption = ["aws_server_side_encryption", "aws_sse_customer_key_base64"];
    let is_encrypted = encryption.into_iter().any(|key| key.parse().is_ok_and(|key| has(&builder, key)));
    let is_on = |key| builder.get_config_value(&key).is_some_and(|value| value != "false");
    let checks_uploads = !is_encrypted && !is_on(Key::S3Express) && !is_on(Key::RequestPayer);
    // Without TLS anywhere no certificates need to be there.
    let options = options(plain, usage).with_no_system_certificates(plain && is_static);
    let connector = connector(options.clone())?;
    let build = |retry, headers: HeaderMap| {
        let options = options.clone().with_default_headers(headers);
        let builder = builder.clone().with_client_options(options).with_retry(retry);
        builder.with_http_connector(connector.clone()).build()
    };
    let mut checks = HeaderMap::new();
    checks.insert("x-amz-checksum-mode", HeaderValue::from_static("ENABLED"));
    let failed = |error| misconfigured("S3", "AWS_…", &error);
    let store = build(patient(), HeaderMap::new()).map_err(failed)?;
    Ok(Clients {
        calls: Arc::new(store.clone()),
        reader: Arc::new(build(once(), HeaderMap::new()).map_err(failed)?),
        s3: Some(S3 {
            heads: build(patient(), checks).map_err(failed)?,
            http: connector.client().clone(),
            signs: !skips,
            is_plain: plain,
            checks_uploads,
            store,
            bucket_url,
            region,
        }),
    })
}

/// Two clients that differ in their patience.
fn pair<T: ObjectStore>(
    build: impl Fn(RetryConfig) -> object_store::Result<Arc<T>>,
) -> object_store::Result<Clients> {
    Ok(Clients { calls: build(patient())?, reader: build(once())?, s3: None })
}

fn options(allow_http: bool, usage: Use) -> ClientOptions {
    ClientOptions::new()
        .with_user_agent(HeaderValue::from_static(concat!("outflow/", env!("CARGO_PKG_VERSION"))))
        .with_allow_http(allow_http)
        // A bound for a whole request would cut whatever is large.
        .with_timeout_disabled()
        .with_read_timeout(usage.patience)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_pool_idle_timeout(IDLE_TIMEOUT)
        .with_pool_max_idle_per_host(usage.connections)
}

fn connector(options: ClientOptions) -> Result<Connector, StoreErrorKind> {
    Connector::new(&options).map_err(|_| {
        StoreErrorKind::Misconfigured(
            "TLS cannot be set up: no root certificates were found; install ca-certificates, or name a file of them \
             with SSL_CERT_FILE"
                .to_owned(),
        )
    })
}

fn is_plain(endpoint: Option<&str>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
}

fn patient() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(3),
        base: 3.0,
    };
    RetryConfig { backoff, max_retries: 3, retry_timeout: Duration::from_secs(20) }
}

fn once() -> RetryConfig {
    RetryConfig { max_retries: 0, ..patient() }
}

fn misconfigured(what: &str, variables: &str, error: &object_store::Error) -> StoreErrorKind {
    let reason = match kind_of(error) {
        StoreErrorKind::Unavailable(text) | StoreErrorKind::Misconfigured(text) => text,
        other => other.to_string(),
    };
    StoreErrorKind::Misconfigured(format!("{what} cannot be used as configured (see {variables}): {reason}"))
}
