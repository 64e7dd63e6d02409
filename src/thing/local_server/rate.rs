//! How many connections are taken a second, from one address and from all, without a timer.

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
    sources: Vec<(IpAddr, Bucket)>,
    each_source: Rate,
}

struct Bucket {
    rate: Rate,
    /// In connections times [`UNIT`].
    level: u64,
    at: Instant,
}

impl AcceptRate {
    pub(super) fn new(each_source: Rate, overall: Rate, now: Instant) -> Self {
        Self { overall: Bucket::full(overall, now), sources: Vec::with_capacity(SOURCES), each_source }
    }

    /// Whether a connection from `address` is taken.
    pub(super) fn take(&mut self, address: IpAddr, now: Instant) -> bool {
        let source = source_of(address);
        let at = match self.sources.iter().position(|(known, _)| *known == source) {
            Some(at) => at,
            None => {
                if self.sources.len() == SOURCES {
                    // Whoever has been quiet longest is forgotten.
                    let quietest = self.sources.iter().enumerate().min_by_key(|(_, (_, bucket))| bucket.at);
                    if let Some((at, _)) = quietest {
                        self.sources.swap_remove(at);
                    }
                }
                self.sources.push((source, Bucket::full(self.each_source, now)));
                self.sources.len() - 1
            }
        };
        // The source first: what it wastes is not everybody's loss.
        self.sources[at].1.take(now) && self.overall.take(now)
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

/// One household member with IPv6 owns a /64.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
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
        assert_eq!([0; 3].map(|_| rate.take(v4(1), start)), [true, true, false]);
        assert!(rate.take(v4(2), start), "another source is not to blame");
        let later = start + Duration::from_millis(999);
        assert!(!rate.take(v4(1), later));
        assert!(rate.take(v4(1), start + Duration::from_millis(1001)));
        let much_later = start + Duration::from_secs(100_000);
        assert_eq!([0; 3].map(|_| rate.take(v4(1), much_later)), [true, true, false]);
    }

    #[test]
    fn a_flood_from_one_source_does_not_use_up_everybodys_share() {
        let start = Instant::now();
        let mut rate = AcceptRate::new(SLOW, Rate { burst: 3, each_second: 0 }, start);
        for _ in 0..1000 {
            rate.take(v4(1), start);
        }
        assert!(rate.take(v4(2), start));
        assert!(!rate.take(v4(3), start), "the overall limit holds");
    }

    #[test]
    fn memory_does_not_grow_with_the_number_of_sources() {
        let start = Instant::now();
        let mut rate = AcceptRate::new(SLOW, FAST, start);
        for source in 0..10_000_u32 {
            rate.take(IpAddr::from(source.to_be_bytes()), start);
        }
        assert_eq!(rate.sources.len(), SOURCES);
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let address = |text: &str| source_of(text.parse().expect("valid"));
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), v4(1));
    }
}
