//! Who asks for a tunnel, what they may, and what may be reached.
//!
//! ```text
//! principal   who asks, and what they may
//!   users     by a token
//!   capability  by an address that is allowed to whoever has it
//! allow       what may be reached
//! ```

pub(super) mod allow;
pub(super) mod capability;
pub(super) mod principal;
mod users;

pub use self::allow::{Allow, Host, Target};
pub use self::capability::{Capability, Keys, PATH, Unusable};
pub use self::users::{Secret, User, Users};
