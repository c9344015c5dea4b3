//! How many tunnels there may be, and how many that are not there yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rejection::Refusal;

/// How many at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Tunnels of everybody. 4,096.
    pub tunnels: usize,
    /// Tunnels of one user, or by one address if nobody knows the user. 64.
    pub of_one: usize,
    /// Of these, those whose target has not answered yet: of everybody 1,024, of one at most a quarter of their tunnels.
    pub connecting: usize,
}

impl Default for Most {
    fn default() -> Most {
        Most { tunnels: 4_096, of_one: 64, connecting: 1_024 }
    }
}

/// Counts them.
pub(super) struct Places(Mutex<Taken>, Most);

#[derive(Default)]
struct Taken {
    all: Count,
    by_owner: HashMap<Arc<str>, Count>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    tunnels: usize,
    connecting: usize,
}

/// One tunnel's place. Given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    owner: Arc<str>,
    connecting: bool,
}

impl Places {
    pub(super) fn new(most: Most) -> Places {
        Places(Mutex::default(), most)
    }

    /// How many tunnels there are, those that are being connected among them.
    pub(super) fn open(&self) -> usize {
        self.lock().all.tunnels
    }

    /// A place for a tunnel that is being connected; `own` is how many its owner may have, if that is not what all may.
    pub(super) fn take(self: &Arc<Places>, owner: &Arc<str>, own: Option<usize>) -> Result<Place, Refusal> {
        let most = self.1;
        let of_one = own.unwrap_or(most.of_one);
        let mut taken = self.lock();
        let (all, owned) = (taken.all, taken.by_owner.get(owner).copied().unwrap_or_default());
        if owned.tunnels >= of_one {
            return Err(Refusal::busy(format!("you have {of_one} tunnels open already: end one")));
        }
        if owned.connecting > of_one / 4 {
            return Err(Refusal::busy("too many of your tunnels wait for their targets: try again later"));
        }
        if all.tunnels >= most.tunnels || all.connecting >= most.connecting {
            return Err(Refusal::busy("the server has as many tunnels as it may: try again later"));
        }
        let owned = taken.by_owner.entry(Arc::clone(owner)).or_default();
        owned.tunnels += 1;
        owned.connecting += 1;
        taken.all.tunnels += 1;
        taken.all.connecting += 1;
        Ok(Place { places: Arc::clone(self), owner: Arc::clone(owner), connecting: true })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The target has answered.
    pub(super) fn connected(&mut self) {
        if std::mem::take(&mut self.connecting) {
            let mut taken = self.places.lock();
            taken.all.connecting -= 1;
            if let Some(owned) = taken.by_owner.get_mut(&self.owner) {
                owned.connecting -= 1;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connected();
        let mut taken = self.places.lock();
        taken.all.tunnels -= 1;
        if let Some(owned) = taken.by_owner.get_mut(&self.owner) {
            owned.tunnels -= 1;
            if owned.tunnels == 0 {
                taken.by_owner.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_owner_and_given_back() {
        let places = Arc::new(Places::new(Most { tunnels: 5, of_one: 4, connecting: 3 }));
        let (anna, ben): (Arc<str>, Arc<str>) = ("anna".into(), "ben".into());
        let why = |place: Result<Place, Refusal>| place.err().map(|refusal| refusal.text);
        let mut first = places.take(&anna, None).unwrap();
        let second = places.take(&anna, None).unwrap();
        assert!(why(places.take(&anna, None)).unwrap().contains("wait for their targets"));
        first.connected();
        first.connected();
        let mut more: Vec<Place> = Vec::new();
        for owner in [&anna, &ben] {
            more.push(places.take(owner, None).unwrap());
        }
        assert!(why(places.take(&ben, None)).unwrap().contains("the server"));
        assert!(why(places.take(&anna, Some(3))).unwrap().contains("3 tunnels"));
        more.iter_mut().for_each(Place::connected);
        more.push(places.take(&ben, None).unwrap());
        assert_eq!(places.open(), 5);
        drop((first, second, more));
        assert_eq!(places.open(), 0);
        assert!(places.lock().by_owner.is_empty() && places.lock().all.connecting == 0);
    }
}
