//! The operating system's random numbers.
//!
//! Keys come straight from the kernel. What is short and not secret for long, the IV of each message
//! above all, is taken from a supply, so that a command does not pay for a system call of its own.

use std::convert::Infallible;
use std::fmt;

use getrandom::SysRng;
use rand_core::{Rng as _, TryCryptoRng, TryRng, UnwrapErr};
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes asked for at once: the IVs of 16 messages.
const SUPPLY_BYTES: usize = 256;
/// Longer requests go past the supply; no key is shorter.
const MAX_SUPPLIED_BYTES: usize = 16;

/// The operating system's random numbers, each byte given once and wiped as it is given.
///
/// It panics when the kernel gives none, which Linux does at no time after the boot: a key drawn
/// from nothing would be worse.
pub struct OsRng {
    supply: Zeroizing<[u8; SUPPLY_BYTES]>,
    /// Bytes at the end of the supply that have not been given yet.
    left: usize,
}

/// A source of the operating system's random numbers.
#[must_use]
pub fn os_rng() -> OsRng {
    OsRng { supply: Zeroizing::new([0; SUPPLY_BYTES]), left: 0 }
}

impl TryRng for OsRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        if bytes.len() > MAX_SUPPLIED_BYTES {
            UnwrapErr(SysRng).fill_bytes(bytes);
            return Ok(());
        }
        if self.left < bytes.len() {
            UnwrapErr(SysRng).fill_bytes(&mut *self.supply);
            self.left = SUPPLY_BYTES;
        }
        let start = SUPPLY_BYTES - self.left;
        let given = &mut self.supply[start..start + bytes.len()];
        bytes.copy_from_slice(given);
        given.zeroize();
        self.left -= bytes.len();
        Ok(())
    }
}

impl TryCryptoRng for OsRng {}

impl fmt::Debug for OsRng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OsRng(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nothing_is_given_twice_and_nothing_given_is_kept() {
        let mut rng = os_rng();
        let mut seen = BTreeSet::new();
        for _ in 0..1000 {
            let mut iv = [0; 16];
            rng.fill_bytes(&mut iv);
            assert!(seen.insert(iv), "an IV came twice");
            let given = SUPPLY_BYTES - rng.left;
            assert!(rng.supply[..given].iter().all(|&byte| byte == 0));
            assert!(!rng.supply.windows(16).any(|window| window == iv));
        }
    }

    #[test]
    fn requests_of_any_length_are_met_in_full() {
        let mut rng = os_rng();
        // 32 bytes are zero in one of 2^256 draws; a supply that runs short would leave the tail so.
        for length in (1..=16).chain(1..=16) {
            let drawn: Vec<_> = (0..32)
                .map(|_| {
                    let mut bytes = vec![0; length];
                    rng.fill_bytes(&mut bytes);
                    bytes[length - 1]
                })
                .collect();
            assert!(drawn.iter().any(|&byte| byte != 0), "{length} bytes");
        }
        let mut key = [0; 64];
        let left = rng.left;
        rng.fill_bytes(&mut key);
        assert_ne!(key[32..], [0; 32]);
        assert_eq!(rng.left, left, "a key was taken from the supply");
    }

    #[test]
    fn numbers_differ() {
        let mut rng = os_rng();
        assert_ne!(rng.next_u64(), rng.next_u64());
        assert_ne!([rng.next_u32(), rng.next_u32()], [rng.next_u32(), rng.next_u32()]);
        assert_eq!(format!("{rng:?}"), "OsRng(..)");
    }
}
