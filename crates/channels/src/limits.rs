//! How many may subscribe: from one address, with one token, to one channel.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::channel::Channel;

/// Counts subscribers.
pub(super) struct Limits {
    per_address: u32,
    per_token: u32,
    per_channel: u32,
    counts: Mutex<HashMap<Key, u32>>,
}

/// Whose subscribers are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// An IPv4 address, or the network part of an IPv6 one: who has one address there has all of them.
    V4(u32),
    V6(u64),
    Token(u32),
}

impl Key {
    fn of(address: IpAddr) -> Key {
        match address.to_canonical() {
            IpAddr::V4(address) => Key::V4(address.to_bits()),
            // The upper half.
            IpAddr::V6(address) => Key::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Who wants to subscribe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who {
    pub(super) address: IpAddr,
    /// The number of its token.
    pub(super) token: Option<u32>,
}

/// What there are too many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Address,
    Token,
    Channel,
    /// There are too many channels.
    Channels,
}

/// A subscriber's place in all counts: free again when this is dropped.
pub(super) struct Place {
    limits: Arc<Limits>,
    pub(super) channel: Arc<Channel>,
    address: Key,
    token: Option<u32>,
}

impl Limits {
    pub(super) fn new(per_address: u32, per_token: u32, per_channel: u32) -> Arc<Limits> {
        Arc::new(Limits { per_address, per_token, per_channel, counts: Mutex::default() })
    }

    /// Takes a place, if there is one. Called while nobody else can forget the channel.
    pub(super) fn enter(self: &Arc<Self>, channel: &Arc<Channel>, who: Who) -> Result<Place, Full> {
        let address = Key::of(who.address);
        let mut counts = self.counts();
        let count = |key: &Key| counts.get(key).copied().unwrap_or(0);
        if count(&address) >= self.per_address {
            return Err(Full::Address);
        }
        if who.token.is_some_and(|token| count(&Key::Token(token)) >= self.per_token) {
            return Err(Full::Token);
        }
        if channel.subscribers.load(Ordering::Relaxed) >= self.per_channel {
            return Err(Full::Channel);
        }
        *counts.entry(address).or_default() += 1;
        if let Some(token) = who.token {
            *counts.entry(Key::Token(token)).or_default() += 1;
        }
        channel.subscribers.fetch_add(1, Ordering::Relaxed);
        Ok(Place { limits: Arc::clone(self), channel: Arc::clone(channel), address, token: who.token })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Key, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.limits.counts();
        for key in [Some(self.address), self.token.map(Key::Token)].into_iter().flatten() {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_holds_for_its_own_and_places_come_back() {
        let limits = Limits::new(2, 3, 4);
        let [one, other] = [1, 2].map(|epoch| Arc::new(Channel::new(epoch, 1, 10)));
        let who = |address: &str, token| Who { address: address.parse().unwrap(), token };
        let enter = |channel, address, token| limits.enter(channel, who(address, token));
        let mut places = vec![enter(&one, "10.0.0.1", None).ok(), enter(&one, "::ffff:10.0.0.1", None).ok()];
        assert_eq!(enter(&other, "10.0.0.1", None).err(), Some(Full::Address));
        places.push(enter(&one, "2001:db8::1", Some(7)).ok());
        places.push(enter(&one, "2001:db8::2", Some(7)).ok());
        assert_eq!(enter(&other, "2001:db8::3", None).err(), Some(Full::Address));
        assert_eq!(enter(&one, "10.0.0.2", None).err(), Some(Full::Channel));
        places.push(enter(&other, "10.0.0.2", Some(7)).ok());
        assert_eq!(enter(&other, "10.0.0.2", Some(7)).err(), Some(Full::Token));
        assert!(enter(&other, "10.0.0.2", Some(8)).is_ok());
        assert!(places.iter().all(Option::is_some));
        drop(places);
        assert!(limits.counts().is_empty());
        assert_eq!(
            (one.subscribers.load(Ordering::Relaxed), other.subscribers.load(Ordering::Relaxed)),
            (0, 0)
        );
    }
}
