//! Registration: the thing tells a cloud server who may use which topic (SecT STEP 9, 20; protocol
//! section 10).
//!
//! The whole list travels each time, under a generation number that rises with every change, on a pair
//! of topics that belongs to the thing's TLS identity. A server that was away, was restored or lost an
//! answer is right again after the next message.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::credential::{CtlrCredentials, CtlrUser};
use super::id::{IdError, SpkiHash, ThingId};
use super::json::Body;
use super::keys;
use super::message::ReturnCode;
use super::secret::SecretString;
use super::text;
use super::topic::TToken;

/// Entries of one thing at most: 16 controllers, each with a current and a next topic.
pub const MAX_ENTRIES: usize = 32;

/// The topic that a thing registers on: `sect/cloud/<thing_id>/up`, T_cloud,default.
#[must_use]
pub fn up_topic(thing: &ThingId) -> String {
    format!("sect/cloud/{thing}/up")
}

/// The topic that the server answers on: `sect/cloud/<thing_id>/down`.
#[must_use]
pub fn down_topic(thing: &ThingId) -> String {
    format!("sect/cloud/{thing}/down")
}

/// `reg.set`: the whole list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegSet {
    /// The list's generation.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// Who may use which topic; at most [`MAX_ENTRIES`].
    pub acl: Vec<Entry>,
}

impl Body for RegSet {
    const T: &'static str = "reg.set";
}

/// `reg.ok`: the list is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegOk {
    /// Its generation.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// The topics whose entries were skipped, because another thing holds topic or user.
    pub refused: Vec<TToken>,
}

impl Body for RegOk {
    const T: &'static str = "reg.ok";
}

/// `reg.err`: the list is not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegErr {
    /// The generation that the server holds.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// The generation that it refused.
    pub of: u64,
    /// Why: STALE for an old generation, or the same with other content.
    pub rc: ReturnCode,
}

impl Body for RegErr {
    const T: &'static str = "reg.err";
}

/// One account with rights to one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// T_token.
    pub topic: TToken,
    /// Ctlr-U.
    pub user: CtlrUser,
    /// What the server checks the cloud password against.
    #[serde(rename = "vh")]
    pub verifier: Verifier,
}

impl Entry {
    /// The entry of a controller at the server whose CA is `server_ca`.
    #[must_use]
    pub fn of(topic: &TToken, credentials: &CtlrCredentials, thing: &ThingId, server_ca: &SpkiHash) -> Self {
        let password = cloud_password(credentials, thing, server_ca);
        Self {
            topic: topic.clone(),
            user: credentials.user.clone(),
            verifier: Verifier::of(password.expose().as_bytes()),
        }
    }
}

/// The password that one cloud server knows a controller by: 22 characters (protocol section 10).
#[must_use]
pub fn cloud_password(credentials: &CtlrCredentials, thing: &ThingId, server_ca: &SpkiHash) -> SecretString {
    let raw = keys::cloud_password(&credentials.password, thing, server_ca);
    SecretString::new(Base64UrlUnpadded::encode_string(raw.expose()))
}

/// SHA-256 of a cloud password's characters, compared in constant time, never printed.
///
/// The password has 128 random bits, so that its hash needs no salt and no stretching.
#[derive(Clone, Copy)]
pub struct Verifier([u8; 32]);

impl Verifier {
    /// The verifier of what somebody gave as password.
    #[must_use]
    pub fn of(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }

    /// Takes stored bytes back.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Verifier {}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

impl FromStr for Verifier {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 32];
        match Base64UrlUnpadded::decode(text, &mut bytes) {
            Ok(decoded) if decoded.len() == 32 => Ok(Self(bytes)),
            _ => Err(IdError("verifier")),
        }
    }
}

impl Serialize for Verifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Base64UrlUnpadded::encode_string(&self.0))
    }
}

impl<'de> Deserialize<'de> for Verifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::json;
    use crate::proto::testing::Counter;

    #[test]
    fn a_full_list_fits_one_packet_and_reads_back() {
        let rng = &mut Counter::new(3);
        let (thing, ca) = (ThingId::of(&SpkiHash::new([1; 32])), SpkiHash::new([2; 32]));
        let acl: Vec<_> = (0..MAX_ENTRIES)
            .map(|_| Entry::of(&TToken::random(rng), &CtlrCredentials::random(rng), &thing, &ca))
            .collect();
        let set = RegSet { generation: (1 << 53) - 1, acl };
        let text = json::encode(&set);
        assert!(text.len() < 8000, "{} bytes", text.len());
        assert_eq!(json::read(&text), Ok(set));
    }

    #[test]
    fn each_server_knows_another_password() {
        let (thing, credentials) =
            (ThingId::of(&SpkiHash::new([1; 32])), CtlrCredentials::random(&mut Counter::new(3)));
        let at = |ca| cloud_password(&credentials, &thing, &SpkiHash::new([ca; 32]));
        assert_eq!(at(1).expose().len(), 22);
        assert_ne!(at(1), at(2));
    }
}
