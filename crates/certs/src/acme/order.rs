//! One order at the authority (RFC 8555, section 7.4): from an account to a certificate for one domain, proven by what this
//! server answers to a TLS handshake (RFC 8737).

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

use super::schedule::Failed;

/// How long the authority may take to look, and then to sign: each.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));

/// Why an order came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// The authority does not know the account: it has to be made anew.
    #[error("the authority does not know the account any more")]
    AccountGone,
    /// The authority could not be convinced.
    #[error("the authority could not verify the domain{}: the name must lead to this server, whose listener with TLS must be reachable at port 443", detail(.0.as_deref()))]
    Unproven(Option<String>),
    /// The only way of proof that is known here.
    #[error(
        "the authority does not offer the challenge tls-alpn-01 for this domain: use another authority, or certificates from files"
    )]
    NotOffered,
    /// What came is not what was asked for.
    #[error("the authority's certificate is of no use: {0}")]
    Useless(String),
    /// The library, the network, or the authority.
    #[error("{}", said(.0))]
    Acme(#[from] Error),
    /// Keys and requests.
    #[error("no key or request could be made: {0}")]
    Made(#[from] rcgen::Error),
    /// It took too long in all.
    #[error("the authority took too long")]
    Late,
}

impl OrderError {
    /// Whether the same may succeed at once, or will fail until somebody does something.
    pub(super) fn kind(&self) -> Failed {
        match self {
            // 5xx is what the authority says of itself; a spent nonce can happen to everybody.
            OrderError::Acme(Error::Api(problem)) if problem.status.is_some_and(|status| status >= 500) => {
                Failed::Unreached
            }
            OrderError::Acme(Error::Api(problem)) if is(problem, "badNonce") => Failed::Unreached,
            OrderError::Acme(Error::Api(_) | Error::Timeout(_)) => Failed::Refused,
            OrderError::AccountGone | OrderError::Acme(_) | OrderError::Made(_) => Failed::Unreached,
            _ => Failed::Refused,
        }
    }
}

fn detail(detail: Option<&str>) -> String {
    detail.map(|detail| format!(" ({detail})")).unwrap_or_default()
}

fn said(error: &Error) -> String {
    match error {
        Error::Api(problem) if is(problem, "rateLimited") => {
            format!("the authority refuses for now, because it was asked too often ({})", told(problem))
        }
        Error::Api(problem) => format!("the authority refuses ({})", told(problem)),
        Error::Json(_) => "what answers is no authority that speaks ACME, or it is out of order".to_owned(),
        Error::Other(reason) => format!("the authority cannot be reached ({reason})"),
        error => error.to_string(),
    }
}

/// What a problem says, whatever of it there is.
fn told(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
    let text = match &problem.detail {
        Some(detail) => format!("{kind}: {detail}"),
        None => kind.to_owned(),
    };
    // It is somebody else's text, and goes into a line of the log.
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

fn is(problem: &Problem, kind: &str) -> bool {
    problem.r#type.as_deref().and_then(|name| name.strip_prefix("urn:ietf:params:acme:error:")) == Some(kind)
}

/// A key and the chain that the authority signed for it, in PEM.
pub(super) struct Obtained {
    pub(super) key: String,
    pub(super) chain: String,
}

/// Gets a certificate for `domain`. `show` is called with what a handshake for `acme-tls/1` has to show from then on.
pub(super) async fn obtain(
    account: &Account,
    domain: &str,
    show: impl Fn(Arc<CertifiedKey>),
) -> Result<Obtained, OrderError> {
    let identifiers = [Identifier::Dns(domain.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await.map_err(|error| match error {
        Error::Api(problem) if is(&problem, "accountDoesNotExist") => OrderError::AccountGone,
        error => error.into(),
    })?;
    prove(&mut order, domain, show).await?;
    let key = KeyPair::generate()?;
    let mut request = CertificateParams::new(vec![domain.to_owned()])?;
    request.distinguished_name = DistinguishedName::new();
    order.finalize_csr(request.serialize_request(&key)?.der()).await?;
    let chain = order.poll_certificate(&PATIENCE).await?;
    Ok(Obtained { key: key.serialize_pem(), chain })
}

async fn prove(order: &mut Order, domain: &str, show: impl Fn(Arc<CertifiedKey>)) -> Result<(), OrderError> {
    let mut refused = None;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status => return Err(OrderError::Unproven(Some(format!("the authorization is {status:?}")))),
        }
        let mut challenge =
            authorization.challenge(ChallengeType::TlsAlpn01).ok_or(OrderError::NotOffered)?;
        show(challenge_certificate(domain, challenge.key_authorization().digest().as_ref())?);
        // An authority that looks at once may answer what it saw already.
        if let Err(error) = challenge.set_ready().await {
            refused = Some(error);
            break;
        }
    }
    let ready = match refused {
        Some(error) => Err(error),
        None => order.poll_ready(&PATIENCE).await,
    };
    if matches!(ready, Ok(OrderStatus::Ready)) {
        return Ok(());
    }
    // The order says that it is invalid; the challenge knows why.
    let why = failure(order).await;
    match ready {
        Err(error) if why.is_none() => Err(error.into()),
        _ => Err(OrderError::Unproven(why)),
    }
}

async fn failure(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await
            && let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref())
        {
            return Some(told(problem));
        }
    }
    None
}

/// Signed by itself, for the domain, with the answer to the challenge in it (RFC 8737, section 3).
fn challenge_certificate(domain: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, OrderError> {
    // The library takes any other length for a mistake of the program.
    if digest.len() != 32 {
        return Err(OrderError::Useless("the digest of a challenge has another length".to_owned()));
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![domain.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = any_supported_type(&key).map_err(|error| OrderError::Useless(error.to_string()))?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}
