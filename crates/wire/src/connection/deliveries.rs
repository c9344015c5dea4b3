//! The connection's part in following its deliveries: the socket that is asked, and the deadline.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use outflow_content::{AbortReason, Evidence};
use rustix::net::{RecvFlags, sockopt};

use super::Connection;
use crate::delivery::{MAX_PENDING, PendingDeliveries, PendingDelivery, abort_all, disconnected};
use crate::options::ServerOptions;
use crate::tls::TlsSession;

impl Connection {
    /// True while some delivery has been sent and it is not known whether it arrived.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| !pending.is_empty())
    }

    /// From now on the bytes written are counted.
    pub(crate) fn count_written(&mut self) {
        self.pending.get_or_insert_with(|| Box::new(PendingDeliveries::new()));
    }

    /// Bytes handed to the kernel since they are counted.
    pub(crate) fn written(&self) -> u64 {
        self.pending.as_ref().map_or(0, |pending| pending.written())
    }

    /// `n` more bytes were handed to the kernel, other than by [`Connection::send`].
    pub(crate) fn wrote(&mut self, n: u64) {
        if let Some(pending) = &mut self.pending {
            pending.count(n);
        }
    }

    /// How many of the bytes written are acknowledged. `None` if the kernel does not say.
    pub(crate) fn acked(&self) -> Option<u64> {
        match &self.pending {
            Some(pending) => pending.acked(self.stream()),
            None => Some(0),
        }
    }

    /// All bytes of `delivery` have been handed over. `no_input`: nothing was read from the client
    /// beyond its request.
    pub(crate) async fn add_pending(
        &mut self,
        delivery: PendingDelivery,
        no_input: bool,
        options: &ServerOptions,
    ) -> Result<(), AbortReason> {
        self.wait_for_acks(MAX_PENDING - 1, options).await?;
        let pending = self.pending.get_or_insert_with(|| Box::new(PendingDeliveries::new()));
        pending.push(delivery, no_input, options);
        Ok(())
    }

    /// True if the kernel has nothing to read from the client, not even its end.
    pub(crate) fn no_input_pending(&self) -> bool {
        if self.session().is_some_and(TlsSession::has_plaintext) {
            return false;
        }
        let mut byte = [0_u8; 1];
        let peeked = rustix::net::recv(self.stream(), &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        peeked.is_err_and(|error| error == rustix::io::Errno::WOULDBLOCK)
    }

    /// Waits until at most `limit` deliveries are pending.
    pub(crate) async fn wait_for_acks(
        &mut self,
        limit: usize,
        options: &ServerOptions,
    ) -> Result<(), AbortReason> {
        loop {
            let Some(pending) = self.pending.as_mut().filter(|pending| pending.len() > limit) else {
                return Ok(());
            };
            pending.complete_acked(Evidence::Acked);
            if pending.len() > limit {
                std::future::poll_fn(|cx| self.poll_ack_timer(cx, true)).await;
                self.check_socket_and_acks(options)?;
            }
        }
    }

    /// Asks the kernel how much has arrived. The reason if the client makes no progress any more.
    pub(crate) fn check_acks(&mut self, options: &ServerOptions) -> Result<(), AbortReason> {
        self.with_pending(Ok(()), |pending, stream| pending.check_acks(stream, options))
    }

    /// The same, after asking whether the connection still stands: for callers that do not read,
    /// which would tell.
    pub(crate) fn check_socket_and_acks(&mut self, options: &ServerOptions) -> Result<(), AbortReason> {
        match sockopt::socket_error(self.stream()) {
            Ok(Ok(())) => self.check_acks(options),
            Ok(Err(error)) | Err(error) => Err(disconnected(&error.into())),
        }
    }

    /// Ready when it is time to check for acknowledgements. Only large bodies have that time,
    /// unless somebody is `waiting` for any.
    pub(crate) fn poll_ack_timer(&mut self, cx: &mut Context<'_>, waiting: bool) -> Poll<()> {
        match &mut self.pending {
            Some(pending) => pending.poll_timer(cx, waiting),
            None => Poll::Pending,
        }
    }

    /// A next request has come: see [`PendingDeliveries::on_request`].
    pub(crate) fn on_request(&mut self, options: &ServerOptions) {
        self.with_pending((), |pending, stream| pending.on_request(stream, options));
    }

    /// The client has ended its side: see [`PendingDeliveries::on_client_fin`].
    pub(crate) fn on_client_fin(&mut self, options: &ServerOptions) {
        self.with_pending((), |pending, stream| pending.on_client_fin(stream, options));
    }

    /// Completes what is acknowledged: nothing that could confirm it will be read any more.
    pub(crate) fn complete_acked(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.complete_acked(Evidence::Acked);
        }
    }

    /// The connection is lost: ends all pending deliveries with what is known.
    pub(crate) fn abort_pending(&mut self, reason: &AbortReason) {
        abort_all(self.take_measured(), reason);
    }

    /// Takes all pending deliveries, each with what is known of it. Call it before a reset, because
    /// the kernel forgets, and end them after it, so that nothing arrives once it is reported lost.
    pub(crate) fn take_measured(&mut self) -> VecDeque<PendingDelivery> {
        match self.pending.take() {
            Some(pending) => pending.into_measured(self.stream()),
            None => VecDeque::new(),
        }
    }

    /// Why the connection is dropped although nobody ended it.
    pub(crate) fn drop_reason(&self) -> AbortReason {
        match sockopt::socket_error(self.stream()) {
            Ok(Err(error)) => disconnected(&error.into()),
            _ => AbortReason::Shutdown,
        }
    }

    /// Frees the memory for pending deliveries, if there are none.
    pub(super) fn release_pending(&mut self) {
        self.pending.take_if(|pending| pending.is_empty());
    }

    /// Calls `work` with the pending deliveries and the socket, if there is any delivery; else
    /// gives `none`.
    fn with_pending<R>(
        &mut self,
        none: R,
        work: impl FnOnce(&mut PendingDeliveries, &tokio::net::TcpStream) -> R,
    ) -> R {
        let Connection { pending: Some(pending), write: Some(write), .. } = self else { return none };
        if pending.is_empty() { none } else { work(pending, write.as_ref()) }
    }
}
