//! How many connections are taken a second, from one address and from all, without a timer.
//!
//! An address from which somebody has logged in is *proven*. It keeps its own limit, but the crowd's does
//! not concern it: whoever floods the thing from many addresses keeps newcomers out, and no controller.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// So many at once, and so many a second after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Connections at once after a quiet time.
    pub burst: u32,
    /// Connections a second in the long run.
    pub each_second: u32,
}

/// The state of both limits; its size is fixed.
pub(super) struct AcceptRate {
    overall: Bucket,
    sources: Vec<Source>,
    each_source: Rate,
    /// The network that the listener is in.
    home: Option<Prefix>,
}

/// The first 64 bits of an IPv6 address: its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Prefix(u64);

struct Source {
    address: IpAddr,
    bucket: Bucket,
    proven: bool,
}

/// Where a connection that is taken comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// From anywhere.
    Unknown,
    /// From an address from which somebody has logged in.
    Proven,
}

struct Bucket {
    rate: Rate,
    /// In connections times [`UNIT`].
    level: u64,
    at: Instant,
}

impl AcceptRate {
    pub(super) fn new(each_source: Rate, overall: Rate, now: Instant) -> Self {
        Self { overall: Bucket::full(overall, now), sources: Vec::with_capacity(SOURCES), each_source, home: None }
    }

    /// The listener is at `address` from now on.
    pub(super) fn listen_at(&mut self, address: IpAddr) {
        self.home = match address.to_canonical() {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(Prefix::of(address)),
        };
    }

    /// Whether a connection from `address` is taken.
    pub(super) fn take(&mut self, address: IpAddr, now: Instant) -> Option<Origin> {
        let each_source = self.each_source;
        let source = self.source(source_of(address, self.home), each_source, now);
        // The source first: what it wastes is not everybody's loss.
        if !source.bucket.take(now) {
            return None;
        }
        if source.proven {
            return Some(Origin::Proven);
        }
        self.overall.take(now).then_some(Origin::Unknown)
    }

    /// Somebody has logged in from `address`.
    pub(super) fn prove(&mut self, address: IpAddr, now: Instant) {
        let each_source = self.each_source;
        self.source(source_of(address, self.home), each_source, now).proven = true;
    }

    fn source(&mut self, address: IpAddr, rate: Rate, now: Instant) -> &mut Source {
        let at = self.sources.iter().position(|source| source.address == address).unwrap_or_else(|| {
            if self.sources.len() == SOURCES {
                // Whoever has proved nothing and has been quiet longest is forgotten.
                let quietest =
                    self.sources.iter().enumerate().min_by_key(|(_, source)| (source.proven, source.bucket.at));
                if let Some((at, _)) = quietest {
                    self.sources.swap_remove(at);
                }
            }
            self.sources.push(Source { address, bucket: Bucket::full(rate, now), proven: false });
            self.sources.len() - 1
        });
        &mut self.sources[at]
    }
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, level: u64::from(rate.burst) * UNIT, at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).min(Duration::from_secs(3600));
        self.at = now;
        let gained = passed.as_micros() as u64 * u64::from(self.rate.each_second);
        self.level = (self.level + gained).min(u64::from(self.rate.burst) * UNIT);
        if self.level < UNIT {
            return false;
        }
        self.level -= UNIT;
        true
    }
}

impl Prefix {
    fn of(address: Ipv6Addr) -> Self {
        let [a, b, c, d, ..] = address.segments();
        Self([a, b, c, d].into_iter().fold(0, |bits, part| bits << 16 | u64::from(part)))
    }
}

/// Whom an address stands for. Somebody elsewhere has a /64 for himself. In the network of the thing
/// everybody shares one, and all link-local addresses do: there each address is somebody of his own.
fn source_of(address: IpAddr, home: Option<Prefix>) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) if address.is_unicast_link_local() || home == Some(Prefix::of(address)) => {
            IpAddr::V6(address)
        }
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

/// One connection, in microseconds times connections a second.
const UNIT: u64 = 1_000_000;
/// Sources remembered at the same time.
const SOURCES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Rate = Rate { burst: 2, each_second: 1 };
    const FAST: Rate = Rate { burst: 100, each_second: 100 };

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_source_has_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut rate = AcceptRate::new(SLOW, FAST, start);
        let mut take = |address, now| rate.take(address, now).is_some();
        assert_eq!([0; 3].map(|_| take(v4(1), start)), [true, true, false]);
        assert!(take(v4(2), start), "another source is not to blame");
        assert!(!take(v4(1), start + Duration::from_millis(999)));
        assert!(take(v4(1), start + Duration::from_millis(1001)));
        let much_later = start + Duration::from_secs(100_000);
        assert_eq!([0; 3].map(|_| take(v4(1), much_later)), [true, true, false]);
    }

    #[test]
    fn a_flood_from_one_source_does_not_use_up_everybodys_share() {
        let start = Instant::now();
        let mut rate = AcceptRate::new(SLOW, Rate { burst: 3, each_second: 0 }, start);
        for _ in 0..1000 {
            rate.take(v4(1), start);
        }
        assert_eq!(rate.take(v4(2), start), Some(Origin::Unknown));
        assert_eq!(rate.take(v4(3), start), None, "the overall limit holds");
    }

    #[test]
    fn a_flood_from_all_sources_does_not_concern_a_proven_one() {
        let start = Instant::now();
        let mut rate = AcceptRate::new(SLOW, Rate { burst: 3, each_second: 0 }, start);
        rate.prove(v4(1), start);
        for source in 0..10_000_u32 {
            rate.take(IpAddr::from(source.to_be_bytes()), start);
        }
        assert_eq!([0; 3].map(|_| rate.take(v4(1), start)), [Some(Origin::Proven), Some(Origin::Proven), None]);
    }

    #[test]
    fn memory_does_not_grow_with_the_number_of_sources() {
        let start = Instant::now();
        let mut rate = AcceptRate::new(SLOW, FAST, start);
        for source in 0..10_000_u32 {
            let address = IpAddr::from(source.to_be_bytes());
            rate.take(address, start);
            rate.prove(address, start);
        }
        assert_eq!(rate.sources.len(), SOURCES);
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("valid")
    }

    #[test]
    fn in_the_network_of_the_thing_each_ipv6_address_is_a_source() {
        for (listener, mallory, anna) in [
            ("2001:db8:1:2::7", "2001:db8:1:2::66", "2001:db8:1:2:a:b:c:d"),
            ("fd00::7", "fd00::66", "fd00::1"),
            ("fe80::7", "fe80::66", "fe80::1"),
            // Link-local is on the link wherever the listener is.
            ("fd00::7", "fe80::66", "fe80::1"),
        ] {
            let start = Instant::now();
            let mut rate = AcceptRate::new(SLOW, Rate { burst: 4, each_second: 0 }, start);
            rate.listen_at(ip(listener));
            rate.prove(ip(anna), start);
            let mallorys = [0; 4].map(|_| rate.take(ip(mallory), start));
            let unknown = Some(Origin::Unknown);
            assert_eq!(mallorys, [unknown, unknown, None, None], "{mallory}: another's login proves nothing of him");
            let annas = [0; 3].map(|_| rate.take(ip(anna), start));
            let proven = Some(Origin::Proven);
            assert_eq!(annas, [proven, proven, None], "{anna}: she does not pay for him");
        }
    }

    #[test]
    fn a_network_is_foreign_again_once_the_listener_has_left_it() {
        let start = Instant::now();
        let mut rate = AcceptRate::new(SLOW, FAST, start);
        let mut share = |listener: &str| {
            rate.listen_at(ip(listener));
            source_of(ip("fd00::1"), rate.home) == source_of(ip("fd00::2"), rate.home)
        };
        assert_eq!(["fd00::7", "192.168.4.1", "fd00:0:0:1::7"].map(&mut share), [false, true, true]);
    }

    #[test]
    fn one_ipv6_network_elsewhere_is_one_source() {
        let home = Some(Prefix::of("2001:db8:ffff::7".parse().expect("valid")));
        let address = |text: &str| source_of(ip(text), home);
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), v4(1));
    }
}
