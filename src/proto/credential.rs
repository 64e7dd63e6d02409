//! Ctlr-U/P, what a controller shows to MQTT beside its PSK (SecT STEP 5).

use std::fmt;
use std::str::FromStr;

use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::draw;
use super::id::IdError;
use super::text;
use super::topic::ALPHANUMERIC;

const USER_ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

macro_rules! credential {
    ($(#[$doc:meta])* $name:ident, $characters:literal, $alphabet:expr, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; $characters]);

        impl $name {
            /// Draws a fresh one.
            #[must_use]
            pub fn random(rng: &mut dyn CryptoRng) -> Self {
                Self(draw::characters($alphabet, rng))
            }

            /// Its characters.
            #[must_use]
            pub fn expose(&self) -> &str {
                std::str::from_utf8(&self.0).expect("drawn from ASCII letters and digits")
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if !draw::is_drawn_from::<$characters>($alphabet, text) {
                    return Err(IdError($what));
                }
                let mut value = [0; $characters];
                value.copy_from_slice(text.as_bytes());
                Ok(Self(value))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.expose())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::parse(deserializer)
            }
        }
    };
}

credential!(
    /// Ctlr-U: 16 characters of `[a-z0-9]`.
    CtlrUser, 16, USER_ALPHABET, "controller user name"
);
credential!(
    /// Ctlr-P: 25 characters of `[0-9A-Za-z]`, 148.85 bits.
    CtlrPassword, 25, ALPHANUMERIC, "controller password"
);

/// Ctlr-U/P together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CtlrCredentials {
    /// Ctlr-U.
    pub user: CtlrUser,
    /// Ctlr-P.
    pub password: CtlrPassword,
}

impl CtlrCredentials {
    /// Draws a fresh pair.
    #[must_use]
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self { user: CtlrUser::random(rng), password: CtlrPassword::random(rng) }
    }
}
