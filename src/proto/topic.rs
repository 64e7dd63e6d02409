//! T_token, the random topic that binds a controller to its thing (SecT STEP 3).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::draw;
use super::id::IdError;
use super::text;

/// 10 digits and 26 + 26 letters (SecT STEP 3).
pub(crate) const ALPHANUMERIC: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Where a controller that is not bound yet speaks to the thing: T_local,default.
pub const PAIR_C2T: &str = "sect/pair/c";
/// Where the thing answers a controller that is not bound yet.
pub const PAIR_T2C: &str = "sect/pair/t";

/// T_token: 25 characters of `[0-9A-Za-z]`, 148.85 bits (SecT STEP 3).
///
/// Secret from everybody but the thing, its controller and the servers that route it: `Debug` shows nothing.
#[derive(Clone, PartialOrd, Ord, Zeroize, ZeroizeOnDrop)]
pub struct TToken([u8; Self::CHARACTERS]);

impl TToken {
    /// Characters in it.
    pub const CHARACTERS: usize = 25;

    /// Draws a fresh one.
    #[must_use]
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self(draw::characters(ALPHANUMERIC, rng))
    }

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("drawn from ASCII letters and digits")
    }

    /// Whether these are its characters.
    ///
    /// # Security
    ///
    /// This does not take constant time: it is for whoever holds the topic himself.
    #[must_use]
    pub fn is_spelled(&self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }

    /// The subtopic that the controller publishes to: `s/<T_token>/c`.
    #[must_use]
    pub fn c2t(&self) -> String {
        format!("s/{}/c", self.as_str())
    }

    /// The subtopic that the thing publishes to: `s/<T_token>/t`.
    #[must_use]
    pub fn t2c(&self) -> String {
        format!("s/{}/t", self.as_str())
    }
}

impl PartialEq for TToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TToken {}

impl Hash for TToken {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for TToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TToken(..)")
    }
}

impl FromStr for TToken {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if !draw::is_drawn_from::<{ Self::CHARACTERS }>(ALPHANUMERIC, text) {
            return Err(IdError("topic token"));
        }
        let mut token = [0; Self::CHARACTERS];
        token.copy_from_slice(text.as_bytes());
        Ok(Self(token))
    }
}

impl Serialize for TToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::Counter;

    #[test]
    fn a_token_names_one_subtopic_a_direction() {
        let token = TToken::random(&mut Counter::new(0));
        assert_eq!(token.c2t(), "s/0123456789ABCDEFGHIJKLMNO/c");
        assert_eq!(token.t2c(), "s/0123456789ABCDEFGHIJKLMNO/t");
    }

    #[test]
    fn foreign_characters_and_lengths_are_refused() {
        for text in [
            "",
            "0123456789ABCDEFGHIJKLMN",
            "0123456789ABCDEFGHIJKLMNOP",
            "0123456789ABCDEFGHIJKLMN#",
            "0123456789ABCDEFGHIJKLM/+",
        ] {
            assert!(text.parse::<TToken>().is_err(), "{text:?} was read");
        }
    }
}
