//! Predictable randomness for tests.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

/// Counts upwards, a byte at a time: every draw differs, every run is the same.
pub(crate) struct Counter(u64);

impl Counter {
    /// Starts with the byte `first`.
    pub(crate) fn new(first: u64) -> Self {
        Self(first)
    }
}

impl TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            *byte = self.0.to_le_bytes()[0];
            self.0 += 1;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}
