//! Permits of subscribers: how many from one address, with one token, of one channel.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::log::{Channel, StartPosition};
use crate::metrics::{ChannelLimit, ChannelMetrics};

/// Counts subscribers and limits them.
pub(crate) struct SubscriberLimits {
    per_address: u32,
    per_token: u32,
    per_channel: u32,
    counts: Mutex<HashMap<CountKey, u32>>,
    metrics: Arc<ChannelMetrics>,
}

/// What subscribers are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum CountKey {
    /// An IPv4 address.
    V4(u32),
    /// The upper 64 bits of an IPv6 address: a client usually has the whole network.
    V6(u64),
    Token(u32),
}

impl CountKey {
    fn of(address: IpAddr) -> CountKey {
        match address.to_canonical() {
            IpAddr::V4(address) => CountKey::V4(address.to_bits()),
            IpAddr::V6(address) => CountKey::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Where a subscriber comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubscriberOrigin {
    pub(crate) address: IpAddr,
    /// The number of its token, if it has one.
    pub(crate) token: Option<u32>,
}

/// The limit that a new subscriber would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitReached {
    Address,
    Token,
    Channel,
    /// The number of channels.
    Channels,
}

impl From<LimitReached> for ChannelLimit {
    fn from(limit: LimitReached) -> ChannelLimit {
        match limit {
            LimitReached::Address => ChannelLimit::Address,
            LimitReached::Token => ChannelLimit::Token,
            LimitReached::Channel => ChannelLimit::Channel,
            LimitReached::Channels => ChannelLimit::Channels,
        }
    }
}

/// A subscriber's share of all limits, returned when this is dropped.
pub(crate) struct SubscriberPermit {
    limits: Arc<SubscriberLimits>,
    pub(crate) channel: Arc<Channel>,
    address: CountKey,
    token: Option<u32>,
}

/// An admitted subscriber and where it starts.
pub(crate) struct Admission {
    pub(crate) permit: SubscriberPermit,
    pub(crate) start: StartPosition,
    pub(crate) epoch: u64,
}

impl SubscriberLimits {
    pub(crate) fn new(
        (per_address, per_token, per_channel): (u32, u32, u32),
        metrics: Arc<ChannelMetrics>,
    ) -> Arc<SubscriberLimits> {
        Arc::new(SubscriberLimits { per_address, per_token, per_channel, counts: Mutex::default(), metrics })
    }

    /// Takes a permit, if no limit is reached. The caller holds the lock that keeps the channel
    /// from being dropped.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        origin: SubscriberOrigin,
    ) -> Result<SubscriberPermit, LimitReached> {
        let address = CountKey::of(origin.address);
        let mut counts = self.counts.lock();
        let count = |key: &CountKey| counts.get(key).copied().unwrap_or(0);
        if count(&address) >= self.per_address {
            return Err(LimitReached::Address);
        }
        if origin.token.is_some_and(|token| count(&CountKey::Token(token)) >= self.per_token) {
            return Err(LimitReached::Token);
        }
        if channel.subscribers.load(Ordering::Relaxed) >= self.per_channel {
            return Err(LimitReached::Channel);
        }
        *counts.entry(address).or_default() += 1;
        if let Some(token) = origin.token {
            *counts.entry(CountKey::Token(token)).or_default() += 1;
        }
        channel.subscribers.fetch_add(1, Ordering::Relaxed);
        self.metrics.subscribers.inc();
        Ok(SubscriberPermit {
            limits: Arc::clone(self),
            channel: Arc::clone(channel),
            address,
            token: origin.token,
        })
    }
}

impl Drop for SubscriberPermit {
    fn drop(&mut self) {
        let mut counts = self.limits.counts.lock();
        for key in [Some(self.address), self.token.map(CountKey::Token)].into_iter().flatten() {
            if let Some(count) = counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&key);
                }
            }
        }
        if counts.is_empty() {
            counts.shrink_to_fit();
        }
        self.channel.subscribers.fetch_sub(1, Ordering::Relaxed);
        self.limits.metrics.subscribers.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_holds_for_its_own_and_permits_come_back() {
        let limits = SubscriberLimits::new((2, 3, 4), Arc::default());
        let [one, other] = [1, 2].map(|epoch| Arc::new(Channel::new(epoch, 1, 10)));
        let origin = |address: &str, token| SubscriberOrigin { address: address.parse().unwrap(), token };
        let acquire = |channel, address, token| limits.acquire(channel, origin(address, token));
        let mut permits =
            vec![acquire(&one, "10.0.0.1", None).ok(), acquire(&one, "::ffff:10.0.0.1", None).ok()];
        assert_eq!(acquire(&other, "10.0.0.1", None).err(), Some(LimitReached::Address));
        permits.push(acquire(&one, "2001:db8::1", Some(7)).ok());
        permits.push(acquire(&one, "2001:db8::2", Some(7)).ok());
        assert_eq!(acquire(&other, "2001:db8::3", None).err(), Some(LimitReached::Address));
        assert_eq!(acquire(&one, "10.0.0.2", None).err(), Some(LimitReached::Channel));
        permits.push(acquire(&other, "10.0.0.2", Some(7)).ok());
        assert_eq!(acquire(&other, "10.0.0.2", Some(7)).err(), Some(LimitReached::Token));
        assert!(acquire(&other, "10.0.0.2", Some(8)).is_ok());
        assert!(permits.iter().all(Option::is_some));
        drop(permits);
        assert!(limits.counts.lock().is_empty());
        assert_eq!(
            (one.subscribers.load(Ordering::Relaxed), other.subscribers.load(Ordering::Relaxed)),
            (0, 0)
        );
    }
}
