//! The home network that the owner gives to the thing (SecT STEP 4).

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::id::IdError;
use super::secret::SecretString;
use super::text;

/// A network's name: 1 to 32 bytes, which need not be text (IEEE 802.11).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ssid(Vec<u8>);

/// What opens a WPA2 network: a passphrase of 8 to 63 printable ASCII characters, or 64 hex digits
/// (IEEE 802.11 annex J.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WifiPsk(SecretString);

/// Text that names or opens no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WifiError {
    /// Nothing, or more than 32 bytes.
    #[error("a network name has 1 to 32 bytes")]
    SsidLength,
    /// Neither a passphrase nor a key.
    #[error("a Wi-Fi password has 8 to 63 characters of ASCII, or 64 hex digits")]
    Psk,
}

/// A home network with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeNetwork {
    /// Its name.
    pub ssid: Ssid,
    /// What opens it.
    pub psk: WifiPsk,
}

impl Ssid {
    /// Takes the raw bytes.
    ///
    /// # Errors
    ///
    /// [`WifiError::SsidLength`].
    pub fn new(bytes: &[u8]) -> Result<Self, WifiError> {
        if (1..=32).contains(&bytes.len()) { Ok(Self(bytes.to_vec())) } else { Err(WifiError::SsidLength) }
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// For people: what is no printable text shows as `?`.
impl fmt::Display for Ssid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = String::from_utf8_lossy(&self.0)
            .chars()
            .map(|c| if c.is_control() || c == char::REPLACEMENT_CHARACTER { '?' } else { c })
            .collect();
        f.pad(&text)
    }
}

impl fmt::Debug for Ssid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ssid({self})")
    }
}

impl FromStr for Ssid {
    type Err = WifiError;

    fn from_str(text: &str) -> Result<Self, WifiError> {
        Self::new(text.as_bytes())
    }
}

impl Serialize for Ssid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Base64UrlUnpadded::encode_string(&self.0))
    }
}

impl<'de> Deserialize<'de> for Ssid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer, |text| {
            let bytes = Base64UrlUnpadded::decode_vec(text).ok();
            bytes.and_then(|bytes| Self::new(&bytes).ok()).ok_or(IdError("network name"))
        })
    }
}

impl WifiPsk {
    /// The characters.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl FromStr for WifiPsk {
    type Err = WifiError;

    fn from_str(text: &str) -> Result<Self, WifiError> {
        let passphrase = (8..=63).contains(&text.len()) && text.bytes().all(|c| (b' '..=b'~').contains(&c));
        let key = text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit());
        if passphrase || key { Ok(Self(SecretString::new(text.to_owned()))) } else { Err(WifiError::Psk) }
    }
}

impl Serialize for WifiPsk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for WifiPsk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_the_lengths_of_the_standard() {
        for (text, fits) in [
            ("1234567", false),
            ("12345678", true),
            (&"x".repeat(63), true),
            (&"x".repeat(64), false),
            (&"aF".repeat(32), true),
            (&"0".repeat(65), false),
            ("passwörter", false),
            ("pass\tword", false),
        ] {
            assert_eq!(text.parse::<WifiPsk>().is_ok(), fits, "{text:?}");
        }
    }

    #[test]
    fn a_name_that_is_no_text_is_kept_and_shown_harmless() {
        let ssid = Ssid::new(b"\xff\x1b[2J").expect("5 bytes");
        assert_eq!(ssid.to_string(), "??[2J");
        assert!(Ssid::new(&[]).is_err() && Ssid::new(&[b'x'; 33]).is_err());
    }
}
