//! What HTTP/2 alone knows.
//!
//! ```text
//! streams    streams beside each other, windows, limits, hand-overs, the preface
//! delivered  each stream's own numbers, and PINGs
//! connect    streams that stop being HTTP: CONNECT
//! abuse      frames that break the rules
//! floods     more frames than anybody needs
//! ```

mod abuse;
mod connect;
mod delivered;
mod floods;
mod streams;
