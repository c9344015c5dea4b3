//! One order at the authority (RFC 8555, section 7.4): from an account to a certificate for one
//! domain, validated by a TLS handshake (`tls-alpn-01`, RFC 8737).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus, Problem,
    RetryPolicy,
};
use outflow_wire::rustls;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::schedule::OrderFailure;

/// Time that the authority has for validating the domain, and again for issuing the certificate.
///
/// Bound: TLS and certificates.
const POLL_TIMEOUT: Duration = Duration::from_secs(120);

const POLLING: RetryPolicy = RetryPolicy::new().timeout(POLL_TIMEOUT);

/// Why an order failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// The account has to be created again.
    #[error("the authority no longer knows the account")]
    AccountGone,
    /// The validation failed.
    #[error("the authority could not verify the domain{}: its name has to lead to this server, with the TLS listener reachable at port 443", detail(.0.as_deref()))]
    Unverified(Option<String>),
    /// The authority does not offer the only challenge that this server supports.
    #[error(
        "the authority does not offer the challenge tls-alpn-01 for this domain; use another authority, or certificates from files"
    )]
    NotOffered,
    /// The authority issued something else than requested.
    #[error("the authority's certificate cannot be used: {0}")]
    Unusable(String),
    /// The library, the network, or the authority.
    #[error("{}", describe(.0))]
    Acme(#[from] Error),
    /// Keys and certificate requests.
    #[error("could not create a key or a certificate request: {0}")]
    Generate(#[from] rcgen::Error),
    /// The order as a whole took too long.
    #[error("the authority took too long")]
    Timeout,
}

impl OrderError {
    /// Whether the same order may succeed soon, or fails until somebody fixes the cause.
    pub(super) fn failure(&self) -> OrderFailure {
        match self {
            // 5xx is the authority's own failure; a stale nonce can happen to any client.
            OrderError::Acme(Error::Api(problem)) if problem.status.is_some_and(|status| status >= 500) => {
                OrderFailure::Unreachable
            }
            OrderError::Acme(Error::Api(problem)) if is_type(problem, "badNonce") => {
                OrderFailure::Unreachable
            }
            OrderError::Acme(Error::Api(_) | Error::Timeout(_)) => OrderFailure::Refused,
            OrderError::AccountGone | OrderError::Acme(_) | OrderError::Generate(_) => {
                OrderFailure::Unreachable
            }
            _ => OrderFailure::Refused,
        }
    }
}

fn detail(detail: Option<&str>) -> String {
    detail.map(|detail| format!(" ({detail})")).unwrap_or_default()
}

fn describe(error: &Error) -> String {
    match error {
        Error::Api(problem) if is_type(problem, "rateLimited") => {
            format!("the authority refuses for now, after too many requests ({})", summary(problem))
        }
        Error::Api(problem) => format!("the authority refuses ({})", summary(problem)),
        Error::Json(_) => {
            "the server at the directory's URL does not speak ACME, or is out of order".to_owned()
        }
        Error::Other(reason) => format!("cannot reach the authority ({reason})"),
        error => error.to_string(),
    }
}

/// Type and detail of a problem, as far as they are given.
fn summary(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
    let text = match &problem.detail {
        Some(detail) => format!("{kind}: {detail}"),
        None => kind.to_owned(),
    };
    // The text comes from outside and goes into a log line.
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

fn is_type(problem: &Problem, kind: &str) -> bool {
    problem.r#type.as_deref().and_then(|name| name.strip_prefix("urn:ietf:params:acme:error:")) == Some(kind)
}

/// A key and the certificate chain that the authority issued for it, in PEM.
pub(super) struct IssuedCertificate {
    pub(super) key: String,
    pub(super) chain: String,
}

/// Obtains a certificate for `domain`. Calls `present` with the certificate that handshakes for
/// `acme-tls/1` have to present from then on.
pub(super) async fn obtain(
    account: &Account,
    domain: &str,
    present: impl Fn(Arc<CertifiedKey>),
) -> Result<IssuedCertificate, OrderError> {
    let identifiers = [Identifier::Dns(domain.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await.map_err(|error| match error {
        Error::Api(problem) if is_type(&problem, "accountDoesNotExist") => OrderError::AccountGone,
        error => error.into(),
    })?;
    validate(&mut order, domain, present).await?;
    let key = KeyPair::generate()?;
    let mut request = CertificateParams::new(vec![domain.to_owned()])?;
    request.distinguished_name = DistinguishedName::new();
    order.finalize_csr(request.serialize_request(&key)?.der()).await?;
    let chain = order.poll_certificate(&POLLING).await?;
    Ok(IssuedCertificate { key: key.serialize_pem(), chain })
}

async fn validate(
    order: &mut Order,
    domain: &str,
    present: impl Fn(Arc<CertifiedKey>),
) -> Result<(), OrderError> {
    let mut refused = None;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status => return Err(OrderError::Unverified(Some(format!("the authorization is {status:?}")))),
        }
        let mut challenge =
            authorization.challenge(ChallengeType::TlsAlpn01).ok_or(OrderError::NotOffered)?;
        present(challenge_certificate(domain, challenge.key_authorization().digest().as_ref())?);
        // An authority that validates at once may answer with the result.
        if let Err(error) = challenge.set_ready().await {
            refused = Some(error);
            break;
        }
    }
    let ready = match refused {
        Some(error) => Err(error),
        None => order.poll_ready(&POLLING).await,
    };
    if matches!(ready, Ok(OrderStatus::Ready)) {
        return Ok(());
    }
    // The order only says that it is invalid; the challenge says why.
    let why = failure(order).await;
    match ready {
        Err(error) if why.is_none() => Err(error.into()),
        _ => Err(OrderError::Unverified(why)),
    }
}

async fn failure(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await
            && let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref())
        {
            return Some(summary(problem));
        }
    }
    None
}

/// A self-signed certificate for the domain that contains the response to the challenge (RFC 8737,
/// section 3).
fn challenge_certificate(domain: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, OrderError> {
    // The library panics on any other length.
    if digest.len() != 32 {
        return Err(OrderError::Unusable("the digest of a challenge has another length".to_owned()));
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![domain.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = any_supported_type(&key).map_err(|error| OrderError::Unusable(error.to_string()))?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}
