//! Channels as their subscribers see them, over a socket.
#![allow(clippy::unwrap_used)]

mod lifetime;
