//! The double against an S3 client that is not ours, and byte by byte.

mod faults;
mod operations;
mod program;
mod raw;
mod uploads;

use std::sync::Once;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use outflow_testkit::s3::Double;

/// A client that tries nothing twice.
fn client(double: &Double) -> AmazonS3 {
    builder(double, ClientOptions::new()).build().unwrap()
}

/// A client for requests by hand.
fn web() -> reqwest::Client {
    provide_tls();
    reqwest::Client::new()
}

/// HTTP clients want to know who encrypts, even where nobody does.
fn provide_tls() {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn builder(double: &Double, options: ClientOptions) -> AmazonS3Builder {
    provide_tls();
    AmazonS3Builder::new()
        .with_endpoint(double.endpoint())
        .with_bucket_name(Double::BUCKET)
        .with_region(Double::REGION)
        .with_access_key_id(Double::ACCESS_KEY)
        .with_secret_access_key(Double::SECRET_KEY)
        .with_client_options(options.with_allow_http(true))
        .with_retry(RetryConfig {
            max_retries: 0,
            backoff: BackoffConfig::default(),
            ..RetryConfig::default()
        })
}
