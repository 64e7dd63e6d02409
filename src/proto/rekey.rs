//! The messages of a key update: a fresh X25519 agreement under the present keys, then proof of the next
//! ones (SecT STEP 6 again; protocol section 8).
//!
//! What follows from them is [`MasterKey::next`](super::keys::MasterKey::next).

use serde::{Deserialize, Serialize};

use super::id::{Boot, RequestId, X25519Public};
use super::json::Body;
use super::time::Micros;

/// `rk.init`, sealed under the present epoch: the controller's half of the agreement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// The start of the daemon that it is meant for.
    pub boot: Boot,
    /// When it was made, in thing time.
    pub ts: Micros,
    /// The epoch that shall follow.
    #[serde(rename = "ep")]
    pub epoch: u32,
    /// A fresh public key.
    pub x: X25519Public,
}

impl Body for Init {
    const T: &'static str = "rk.init";
}

/// `rk.acc`, sealed under the present epoch: the thing's half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accept {
    /// The `rk.init` that it answers.
    pub re: RequestId,
    /// This start of the daemon.
    pub boot: Boot,
    /// Now, in thing time.
    pub ts: Micros,
    /// The epoch that shall follow.
    #[serde(rename = "ep")]
    pub epoch: u32,
    /// A fresh public key.
    pub y: X25519Public,
}

impl Body for Accept {
    const T: &'static str = "rk.acc";
}

/// `rk.com`, sealed under the epoch that follows: the controller has persisted its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// The start of the daemon that it is meant for.
    pub boot: Boot,
    /// When it was made, in thing time.
    pub ts: Micros,
    /// The epoch whose key seals it.
    #[serde(rename = "ep")]
    pub epoch: u32,
}

impl Body for Commit {
    const T: &'static str = "rk.com";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::json;
    use crate::proto::message::Request;

    const BOOT: Boot = Boot::new([3; 16]);

    #[test]
    fn what_a_controller_sends_is_read_as_a_request() {
        let init = Init { boot: BOOT, ts: Micros::new(5), epoch: 1, x: X25519Public::new([7; 32]) };
        let commit = Commit { boot: BOOT, ts: Micros::new(6), epoch: 1 };
        let Ok(Request::RekeyInit(read)) = Request::read(&json::encode(&init)) else { panic!("not read") };
        assert_eq!(read, init);
        let Ok(Request::RekeyCommit(read)) = Request::read(&json::encode(&commit)) else { panic!("not read") };
        assert_eq!(read, commit);
    }

    #[test]
    fn what_the_thing_says_is_no_request() {
        let accept = Accept {
            re: RequestId::new([1; 16]),
            boot: BOOT,
            ts: Micros::new(5),
            epoch: 1,
            y: X25519Public::new([7; 32]),
        };
        let text = json::encode(&accept);
        assert!(Request::read(&text).is_err());
        assert_eq!(json::read::<Accept>(&text), Ok(accept));
    }

    #[test]
    fn a_message_of_another_shape_is_refused() {
        let head = r#"{"v":1,"t":"rk.com","boot":"AwMDAwMDAwMDAwMDAwMDAw","ts":5"#;
        assert!(Request::read(format!(r#"{head},"ep":1}}"#).as_bytes()).is_ok());
        for rest in ["}", r#","ep":-1}"#, r#","ep":4294967296}"#, r#","ep":1,"x":1}"#, r#","ep":"1"}"#] {
            assert!(Request::read(format!("{head}{rest}").as_bytes()).is_err(), "{rest}");
        }
    }
}
