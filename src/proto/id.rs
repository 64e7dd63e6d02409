//! Identifiers: fixed sizes, one strict base64url form each (protocol section 2).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::text;

/// Text that is not the strict form of an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a valid {0}")]
pub struct IdError(pub &'static str);

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $characters:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Bytes in it.
            pub const BYTES: usize = $bytes;
            /// Characters of its base64url form.
            pub const CHARACTERS: usize = $characters;

            /// Takes the raw bytes.
            #[must_use]
            pub const fn new(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// Draws a fresh one.
            #[must_use]
            pub fn random(rng: &mut dyn rand_core::CryptoRng) -> Self {
                let mut bytes = [0; $bytes];
                rng.fill_bytes(&mut bytes);
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// The base64url characters, as ASCII.
            #[must_use]
            pub fn characters(&self) -> [u8; $characters] {
                let mut text = [0; $characters];
                BASE64URL_NOPAD.encode_mut(&self.0, &mut text);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = self.characters();
                f.pad(std::str::from_utf8(&text).expect("base64url is ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; $bytes];
                if text.len() != $characters || BASE64URL_NOPAD.decode_mut(text.as_bytes(), &mut bytes).is_err() {
                    return Err(IdError($what));
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let text = self.characters();
                serializer.serialize_str(std::str::from_utf8(&text).expect("base64url is ASCII"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::parse(deserializer)
            }
        }
    };
}

identifier!(
    /// One controller app, used by one process at a time: 8 random bytes, 11 characters.
    Cid, 8, 11, "controller id"
);
identifier!(
    /// One start of the daemon: 16 random bytes, 22 characters (protocol section 6).
    Boot, 16, 22, "boot nonce"
);
identifier!(
    /// What an answer refers to: the first 16 bytes of SHA-256 of the request's JWE.
    RequestId, 16, 22, "request id"
);
identifier!(
    /// 16 fresh bytes that make a `status` or a pairing hello unique.
    Nonce, 16, 22, "nonce"
);
identifier!(
    /// Names the key of one direction and epoch in a JWE header.
    Kid, 8, 11, "key id"
);
identifier!(
    /// The TLS-PSK identity of a controller's epoch (SecT STEP 7).
    PskId, 16, 22, "PSK identity"
);
identifier!(
    /// Names an invitation: 8 random bytes (protocol section 9).
    InviteId, 8, 11, "invitation id"
);
identifier!(
    /// A raw X25519 public key (RFC 7748).
    X25519Public, 32, 43, "X25519 public key"
);
identifier!(
    /// SHA-256 of a DER SubjectPublicKeyInfo: what pins a certificate authority.
    SpkiHash, 32, 43, "SPKI hash"
);
identifier!(
    /// A fixed-size ECDSA P-256 signature, r || s.
    Signature, 64, 86, "signature"
);

/// The thing's name for itself: 16 lowercase hex digits, the first 8 bytes of SHA-256 over the
/// DER SubjectPublicKeyInfo of its own CA key (protocol section 2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThingId([u8; 8]);

impl ThingId {
    /// Takes the raw bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The id that a CA key's hash gives.
    #[must_use]
    pub fn of(ca: &SpkiHash) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&ca.as_bytes()[..8]);
        Self(id)
    }

    /// Its 8 raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Its 16 ASCII characters, the form that enters key derivations.
    #[must_use]
    pub fn characters(&self) -> [u8; 16] {
        let mut text = [0; 16];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        text
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl fmt::Display for ThingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.characters()).expect("hex is ASCII"))
    }
}

impl fmt::Debug for ThingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ThingId({self})")
    }
}

impl FromStr for ThingId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digit = |c: u8| HEX.iter().position(|&h| h == c).and_then(|v| u8::try_from(v).ok());
        let text: &[u8; 16] = text.as_bytes().try_into().map_err(|_| IdError("thing id"))?;
        let mut id = [0; 8];
        for (byte, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return Err(IdError("thing id")) };
            *byte = high << 4 | low;
        }
        Ok(Self(id))
    }
}

impl Serialize for ThingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ThingId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_read_back_what_they_print() {
        let cid = Cid::new([0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(cid.to_string(), "AAECAwQFBgc");
        assert_eq!("AAECAwQFBgc".parse(), Ok(cid));
    }

    #[test]
    fn only_the_strict_form_is_read() {
        // Padding, a foreign alphabet, white space, a wrong length and unused bits that are not zero.
        for text in ["AAECAwQFBgc=", "AAEC+wQFBgc", "AAECAwQFBg ", "AAECAwQFBg", "AAECAwQFBgcA", "AAECAwQFBgd", ""] {
            assert!(text.parse::<Cid>().is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn thing_id_is_lowercase_hex() {
        let id: ThingId = "0123456789abcdef".parse().expect("valid");
        assert_eq!(id.as_bytes(), &[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        assert_eq!(id.to_string(), "0123456789abcdef");
        for text in ["0123456789ABCDEF", "0123456789abcde", "0123456789abcdefa", "0123456789abcdeg"] {
            assert!(text.parse::<ThingId>().is_err(), "{text:?} was read");
        }
    }
}
