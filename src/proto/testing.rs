//! Predictable randomness and watchful text for tests.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use serde::de::{Deserializer, Visitor};

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

/// A string that is read where it stands: whoever asks for an owned copy gets none.
pub(crate) struct TextInPlace<'de>(pub &'de str);

impl<'de> Deserializer<'de> for TextInPlace<'de> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("asked for something else than text in place"))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_str(self.0)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
