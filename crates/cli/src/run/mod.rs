//! What commands that serve have in common, from their sockets to their end.

pub(crate) mod limits;
pub(crate) mod listen;
pub(crate) mod logging;
pub(crate) mod signals;
pub(crate) mod tls;
