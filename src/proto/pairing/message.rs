//! M1 to M9 as they go over the wire.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::proto::credential::{CtlrPassword, CtlrUser};
use crate::proto::id::{Cid, Nonce, PskId, Signature, SpkiHash, ThingId, X25519Public};
use crate::proto::json::Body;
use crate::proto::signature::Spki;
use crate::proto::text;
use crate::proto::topic::TToken;
use crate::proto::user::Name;
use crate::proto::wifi::{Ssid, WifiPsk};

macro_rules! body {
    ($name:ident, $t:literal) => {
        impl Body for $name {
            const T: &'static str = $t;
        }
    };
}

/// M1 `pair.hello`, clear: the controller's half of the key agreement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Its ephemeral X25519 key.
    pub x: X25519Public,
    /// Makes the run unique.
    pub nc: Nonce,
}
body!(Hello, "pair.hello");

/// M2 `pair.accept`, clear: the thing's half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accept {
    /// The thing's id.
    pub id: ThingId,
    /// Its ephemeral X25519 key.
    pub y: X25519Public,
    /// Makes the run unique.
    pub nt: Nonce,
    /// SHA-256 of its CA's SubjectPublicKeyInfo.
    pub ca: SpkiHash,
}
body!(Accept, "pair.accept");

/// M3 `pair.confirm`: proves the code and the controller's own key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// Which message of its sender this is.
    pub n: Number<0>,
    /// The controller's P-256 key.
    pub spki: Spki,
    /// Signature over the transcript with that key.
    pub pop: Signature,
    /// Whose controller it is.
    pub name: Name,
}
body!(Confirm, "pair.confirm");

/// M3 `pair.recover`, in the place of `pair.confirm`: who lost all controllers proves the recovery code too
/// (protocol section 9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recover {
    /// Which message of its sender this is.
    pub n: Number<0>,
    /// The controller's P-256 key.
    pub spki: Spki,
    /// Signature over the transcript with that key.
    pub pop: Signature,
    /// Whose controller it is.
    pub name: Name,
    /// Signature over the transcript with the recovery key.
    pub sig: Signature,
    /// Whether the users who are no owners stay.
    pub keep: bool,
}
body!(Recover, "pair.recover");

/// M4 `bind.topic` (SecT STEP 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindTopic {
    /// Which message of its sender this is.
    pub n: Number<0>,
    /// The controller's id.
    pub cid: Cid,
    /// T_token.
    pub topic: TToken,
}
body!(BindTopic, "bind.topic");

/// M5 `bind.wifi` (SecT STEP 4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindWifi {
    /// Which message of its sender this is.
    pub n: Number<1>,
    /// The home network's name.
    pub ssid: Ssid,
    /// What opens it.
    pub key: WifiPsk,
}
body!(BindWifi, "bind.wifi");

/// M5 `bind.wifi` of a recovery: without a network the thing keeps the one that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebindWifi {
    /// Which message of its sender this is.
    pub n: Number<1>,
    /// The home network's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssid: Option<Ssid>,
    /// What opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<WifiPsk>,
}
body!(RebindWifi, "bind.wifi");

/// M6 `bind.cred` (SecT STEP 5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindCred {
    /// Which message of its sender this is.
    pub n: Number<1>,
    /// Ctlr-U.
    pub user: CtlrUser,
    /// Ctlr-P.
    pub pass: CtlrPassword,
    /// The controller's certificate.
    pub crt: Der,
    /// The thing's CA certificate.
    pub ca: Der,
}
body!(BindCred, "bind.cred");

/// M7 `bind.psk` (SecT STEP 7): the identity alone, both sides derive the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindPsk {
    /// Which message of its sender this is.
    pub n: Number<2>,
    /// The PSK identity of epoch 0.
    pub id: PskId,
    /// The cloud servers that the thing registers with, 4 at most.
    pub clouds: Vec<CloudServer>,
}
body!(BindPsk, "bind.psk");

/// M8 `bind.commit`: the controller has persisted its side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindCommit {
    /// Which message of its sender this is.
    pub n: Number<2>,
    /// The public half of the recovery code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rec: Option<Spki>,
}
body!(BindCommit, "bind.commit");

/// M9 `bind.done`: so has the thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindDone {
    /// Which message of its sender this is.
    pub n: Number<3>,
}
body!(BindDone, "bind.done");

/// Where a cloud server is and what pins it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudServer {
    /// Its DNS name.
    pub host: String,
    /// The port for controllers.
    pub port: u16,
    /// SHA-256 of its CA's SubjectPublicKeyInfo.
    pub pin: SpkiHash,
}

/// Cloud servers at most.
pub const MAX_CLOUDS: usize = 4;

/// `n`: fixed for each message, so that no sealed message passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number<const N: u64>;

impl<const N: u64> Serialize for Number<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(N)
    }
}

impl<'de, const N: u64> Deserialize<'de> for Number<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            n if n == N => Ok(Self),
            _ => Err(de::Error::custom("out of order")),
        }
    }
}

/// DER bytes, base64url on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Der(pub Vec<u8>);

impl Serialize for Der {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64ct::{Base64UrlUnpadded, Encoding};
        serializer.serialize_str(&Base64UrlUnpadded::encode_string(&self.0))
    }
}

impl<'de> Deserialize<'de> for Der {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64ct::{Base64UrlUnpadded, Encoding};
        text::read(deserializer, |text| Base64UrlUnpadded::decode_vec(text).map(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::json;

    #[test]
    fn the_number_of_another_message_is_refused() {
        let text = json::encode(&BindDone { n: Number });
        assert_eq!(text, br#"{"v":1,"t":"bind.done","n":3}"#);
        assert_eq!(json::read(&text), Ok(BindDone { n: Number }));
        assert!(json::read::<BindDone>(br#"{"v":1,"t":"bind.done","n":2}"#).is_err());
    }
}
