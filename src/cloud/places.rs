//! How many connections there may be, together and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts the connections; it takes memory for those that are there, and for no others.
pub(super) struct Places {
    inner: Mutex<Inner>,
    total: usize,
    each_address: usize,
}

#[derive(Default)]
struct Inner {
    taken: usize,
    addresses: HashMap<IpAddr, usize>,
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
    pub(super) fn new(total: usize, each_address: usize) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), total, each_address })
    }

    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let address = network_of(address);
        let mut inner = self.lock();
        if inner.taken >= self.total {
            return Err(Full::Total);
        }
        let of_address = inner.addresses.entry(address).or_default();
        if *of_address >= self.each_address {
            return Err(Full::Address);
        }
        *of_address += 1;
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
        if let Some(count) = inner.addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                inner.addresses.remove(&self.address);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("valid")
    }

    #[test]
    fn places_are_limited_together_and_for_each_address_and_come_back() {
        let places = Places::new(3, 2);
        let one = places.take(address("10.0.0.1"));
        let two = places.take(address("::ffff:10.0.0.1"));
        assert_eq!(places.take(address("10.0.0.1")).err(), Some(Full::Address));
        let three = places.take(address("2001:db8::1"));
        assert_eq!(places.take(address("10.0.0.2")).err(), Some(Full::Total));
        drop((one, two, three));
        assert_eq!(places.taken(), 0);
        assert!(places.lock().addresses.is_empty());
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let places = Places::new(9, 1);
        let _one = places.take(address("2001:db8::1"));
        assert_eq!(places.take(address("2001:db8::ffff:2")).err(), Some(Full::Address));
        assert!(places.take(address("2001:db8:0:1::1")).is_ok());
    }
}
