//! S3 and what speaks like it.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use url::Url;

use crate::client::address::{self, StoreAddress};
use crate::client::kind::{Backend, ConnectionUse, StoreKind};
use crate::client::options::{connector, is_plain, misconfigured, once, options, patient};
use crate::client::profile;
use crate::client::requests::S3;
use crate::error::StoreErrorKind;
use crate::fetch::{PlainAddresses, PlainUrl, VALID, has_proxy};

pub(crate) static S3_KIND: StoreKind = StoreKind {
    scheme: "s3",
    example: "s3://bucket/prefix",
    parse: |address| address::bucket(address, "bucket"),
    open,
    keeps_media_types: true,
};

fn open(address: &StoreAddress, usage: ConnectionUse) -> Result<Backend, StoreErrorKind> {
    let bucket = address.place.as_str();
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
    let s3 = Arc::new(S3 {
        heads: build(patient(), checks).map_err(failed)?,
        http: connector.client().clone(),
        signs: !skips,
        is_plain: plain,
        checks_uploads,
        store: store.clone(),
        bucket_url,
        region,
    });
    Ok(Backend {
        segments: Arc::new(build(once(), HeaderMap::new()).map_err(failed)?),
        plain: (plain && !has_proxy()).then(|| plain_addresses(&s3)),
        s3: Some(s3),
        ..Backend::new(Arc::new(store))
    })
}

/// An object's address is presigned, if the bucket needs that.
fn plain_addresses(s3: &Arc<S3>) -> PlainAddresses {
    let s3 = Arc::clone(s3);
    PlainAddresses::Signed(Arc::new(move |path, version| {
        let s3 = Arc::clone(&s3);
        let version = version.map(str::to_owned);
        Box::pin(async move {
            let url = s3.signed_url(&path, version.as_deref(), VALID).await?;
            Ok(PlainUrl::of(&url, s3.signs))
        })
    }))
}
