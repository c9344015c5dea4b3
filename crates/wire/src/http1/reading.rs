//! Reading the head of the next request.

use std::io;

use http::StatusCode;
use outflow_content::PrebuiltAnswer;

use super::head::{self, RequestHead};
use super::plain::{self, PlainHead};
use super::refusal::RequestRefusal;
use crate::connection::Connection;
use crate::connection::buffer::PooledBuffer;
use crate::context::ThreadContext;
use crate::service::{HttpService, PlainRequest};

/// What came of reading.
pub(super) enum HeadEvent {
    Complete(Box<RequestHead>),
    /// A plain head, and the service's prebuilt answer.
    Prebuilt(PlainHead<PrebuiltAnswer>),
    /// The socket was reported readable and was not.
    Nothing,
    /// The client has ended its side.
    ClientEnded,
    /// The client sent nothing before the deadline.
    TimedOut,
    Broken(io::Error),
    Refused(RequestRefusal),
}

/// Reads until `input` begins with a whole head, or reading ends.
pub(super) async fn read_head<S: HttpService>(
    connection: &mut Connection,
    input: &mut PooledBuffer,
    context: &ThreadContext<S>,
) -> HeadEvent {
    let limit = context.options.max_head_bytes;
    let too_large =
        RequestRefusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "request head too large");
    let mut begun = false;
    // Only a line's end can complete a head: one that trickles in is not parsed for every byte.
    let mut parse = !input.is_empty();
    loop {
        if parse {
            if S::HAS_PREBUILT && connection.session().is_none() {
                let within_limit = &input.filled()[..input.filled().len().min(limit)];
                let answer = |request: &PlainRequest<'_>| context.service.prebuilt(request);
                if let Some(plain) = plain::parse(within_limit, (connection.peer, connection.via()), answer) {
                    return HeadEvent::Prebuilt(plain);
                }
            }
            match head::parse(input.filled()) {
                Ok(Some(head)) if head.len > limit => return HeadEvent::Refused(too_large),
                Ok(Some(head)) => return HeadEvent::Complete(Box::new(head)),
                Ok(None) => {}
                Err(refusal) => return HeadEvent::Refused(refusal),
            }
        }
        if !begun && !input.is_empty() {
            begun = true;
            connection.timer().set(context.options.head_timeout);
        }
        if input.filled().len() >= limit || (input.capacity_left() == 0 && !input.grow(limit)) {
            return HeadEvent::Refused(too_large);
        }
        let before = input.filled().len();
        match connection.read_some(input).await {
            Ok(0) => return HeadEvent::ClientEnded,
            Ok(_) => parse = before == 0 || input.filled()[before..].contains(&b'\n'),
            Err(error) if error.kind() == io::ErrorKind::TimedOut && begun => {
                let reason = "request head too slow";
                return HeadEvent::Refused(RequestRefusal::new(StatusCode::REQUEST_TIMEOUT, reason));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return HeadEvent::Nothing,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return HeadEvent::TimedOut,
            Err(error) => return HeadEvent::Broken(error),
        }
    }
}
