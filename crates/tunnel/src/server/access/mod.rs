//! Who makes a request, what they may use, and which targets may be reached.
//!
//! ```text
//! principal     who makes a request, and what they may use
//!   users       known by a token
//!   capability  known by a signed address for one target
//! allow         lists of targets that may be reached
//! ```

pub(super) mod allow;
pub(super) mod capability;
pub(super) mod principal;
mod users;

pub use self::allow::{AllowList, Host, TunnelTarget};
pub use self::capability::{Capability, CapabilityError, CapabilityKeys};
pub use self::users::{Secret, User, Users};
