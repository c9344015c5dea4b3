//! Why a store did not do what it was asked to.

/// Why a store did not do what it was asked to. The text names the object and never a credential.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {kind}")]
pub struct StoreError {
    /// The operation that failed, with its object.
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
    /// Larger than the caller's limit.
    #[error("it has more than {limit} bytes or entries")]
    TooBig {
        /// The limit.
        limit: usize,
    },
    /// The address or the configuration is invalid.
    #[error("{0}")]
    Misconfigured(String),
    /// The store has no such operation.
    #[error("the store cannot do this: {0}")]
    Unsupported(String),
    /// The store did not answer, or not well, even after several tries.
    #[error("{0}")]
    Unavailable(String),
}
