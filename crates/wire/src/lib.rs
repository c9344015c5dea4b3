//! An HTTP/1 server engine for sending: zero-copy bodies by sendfile, strict framing, a tower Service as its interface.
#![forbid(unsafe_code)]
