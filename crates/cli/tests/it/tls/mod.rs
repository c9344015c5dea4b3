//! Certificates and HTTPS.
//!
//! ```text
//! files     certificates from files, renewed while downloads run
//! acme      certificates from an ACME server: Pebble, and one that only fails
//! redirect  the redirect to HTTPS, and HSTS
//! ```

mod acme;
mod files;
mod redirect;
