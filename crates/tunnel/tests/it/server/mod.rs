//! The server seen from outside: real sockets, and legs that are framed by hand, so that no mistake
//! is made twice.

mod access;
mod half_close;
mod hostile;
mod http2;
mod resume;
mod reverse;
mod support;
