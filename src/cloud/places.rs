//! How many connections there may be, together and from one address, and how fast one address opens
//! them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts the connections. It remembers an address while it has connections, or has opened some
/// faster than it may in the long run.
pub(super) struct Places {
    inner: Mutex<Inner>,
    limits: PlaceLimits,
}

/// What there may be at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlaceLimits {
    /// Connections at the same time.
    pub(super) total: usize,
    /// The same of one address; so many may come at once, too.
    pub(super) each_address: usize,
    /// New connections of one address in the long run.
    pub(super) each_address_a_second: usize,
}

#[derive(Default)]
struct Inner {
    taken: usize,
    addresses: HashMap<IpAddr, Address>,
}

struct Address {
    open: usize,
    /// When all its connections would have come at the permitted pace.
    paced_until: Instant,
}

/// One connection's place, given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

/// Which limit left no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Total,
    Address,
}

impl Places {
    pub(super) fn new(limits: PlaceLimits) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), limits })
    }

    pub(super) fn take(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Place, Full> {
        let address = network_of(address);
        let PlaceLimits { total, each_address, each_address_a_second } = self.limits;
        let interval = Duration::from_secs(1) / u32::try_from(each_address_a_second).unwrap_or(u32::MAX);
        let burst = interval * u32::try_from(each_address).unwrap_or(u32::MAX);
        let mut inner = self.lock();
        if inner.taken >= total {
            return Err(Full::Total);
        }
        if inner.addresses.len() >= 2 * inner.taken + REMEMBERED {
            inner.addresses.retain(|_, address| address.open > 0 || address.paced_until > now);
        }
        let of_address = inner.addresses.entry(address).or_insert(Address { open: 0, paced_until: now });
        let paced_until = of_address.paced_until.max(now) + interval;
        if of_address.open >= each_address || paced_until > now + burst {
            return Err(Full::Address);
        }
        of_address.open += 1;
        of_address.paced_until = paced_until;
        inner.taken += 1;
        Ok(Place { places: self.clone(), address })
    }

    pub(super) fn taken(&self) -> usize {
        self.lock().taken
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is whole before anything can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.places.lock();
        inner.taken -= 1;
        if let Some(address) = inner.addresses.get_mut(&self.address) {
            address.open -= 1;
        }
    }
}

/// Whoever has IPv6 has a /64 of it.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Addresses without a connection that are remembered before the forgetting begins.
const REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("valid")
    }

    fn places(total: usize, each_address: usize, each_address_a_second: usize) -> Arc<Places> {
        Places::new(PlaceLimits { total, each_address, each_address_a_second })
    }

    #[test]
    fn places_are_limited_together_and_for_each_address_and_come_back() {
        let (places, now) = (places(3, 2, 1000), Instant::now());
        let one = places.take(address("10.0.0.1"), now);
        let two = places.take(address("::ffff:10.0.0.1"), now);
        assert_eq!(places.take(address("10.0.0.1"), now).err(), Some(Full::Address));
        let three = places.take(address("2001:db8::1"), now);
        assert_eq!(places.take(address("10.0.0.2"), now).err(), Some(Full::Total));
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
        drop((one, two, three));
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let (places, now) = (places(9, 1, 1000), Instant::now());
        let _one = places.take(address("2001:db8::1"), now);
        assert_eq!(places.take(address("2001:db8::ffff:2"), now).err(), Some(Full::Address));
        assert!(places.take(address("2001:db8:0:1::1"), now).is_ok());
    }

    #[test]
    fn an_address_has_its_burst_and_then_its_pace() {
        let (places, start) = (places(100, 5, 2), Instant::now());
        let come = |text, now, count: usize| (0..count).filter(|_| places.take(address(text), now).is_ok()).count();
        assert_eq!(come("10.0.0.1", start, 20), 5, "they left at once, and still");
        assert_eq!(come("10.0.0.2", start, 1), 1, "another address is not to blame");
        let a_second_later = start + Duration::from_secs(1);
        assert_eq!(come("10.0.0.1", a_second_later, 20), 2);
        assert_eq!(come("10.0.0.1", start + Duration::from_secs(60), 20), 5);
    }

    #[test]
    fn memory_does_not_grow_with_the_number_of_addresses() {
        let (places, mut now) = (places(100, 5, 50), Instant::now());
        for n in 0..100_000_u32 {
            now += Duration::from_millis(1);
            assert!(places.take(IpAddr::from(n.to_be_bytes()), now).is_ok());
        }
        assert!(places.lock().addresses.len() <= REMEMBERED + 1);
    }
}
