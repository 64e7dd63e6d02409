//! What the controller keeps of one thing once it is bound to it (SecT STEP 3, 5, 6, 7).
//!
//! A [`Binding`] cannot be serialised by accident: [`Binding::to_stored`] gives the one form that
//! shows its secrets, for the keyring and nothing else.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroizing;

use super::message::{CloudServer, Der, MAX_CLOUDS, Number};
use crate::proto::controller::Keychain;
use crate::proto::credential::{CtlrCredentials, CtlrPassword, CtlrUser};
use crate::proto::id::{Cid, PskId, SpkiHash, ThingId};
use crate::proto::keys::{EpochKeys, MasterKey, TlsPsk};
use crate::proto::record::NextTopic;
use crate::proto::secret::Secret;
use crate::proto::signature::SigningKey;
use crate::proto::text;
use crate::proto::topic::TToken;
use crate::proto::user::Name;

/// One thing, as its controller knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The thing.
    pub thing: ThingId,
    /// SHA-256 of its CA's SubjectPublicKeyInfo.
    pub ca: SpkiHash,
    /// What the thing calls this controller.
    pub cid: Cid,
    /// T_token (SecT STEP 3).
    pub topic: TToken,
    /// Ctlr-U/P (SecT STEP 5).
    pub credentials: CtlrCredentials,
    /// The epoch of the master key.
    pub epoch: u32,
    /// The master key of that epoch (SecT STEP 6).
    pub master: MasterKey,
    /// The master key of the epoch that follows, while nobody knows whether the thing has taken it (protocol
    /// section 8).
    pub candidate: Option<MasterKey>,
    /// The day on which the present master key was agreed on, counted from 1970-01-01, where that is known.
    pub since_day: Option<u32>,
    /// What `token.renew` gave, until `token.use` is answered (protocol section 6.6).
    pub next: Option<NextTopic>,
    /// The scalar of this controller's own P-256 key.
    pub key: Secret<32>,
    /// The certificate that the thing's CA issued for that key, DER.
    pub certificate: Vec<u8>,
    /// The thing's CA certificate, DER.
    pub ca_certificate: Vec<u8>,
    /// Where the thing can be reached from elsewhere, 4 at most.
    pub clouds: Vec<CloudServer>,
    /// The user's name, as the thing knows it.
    pub name: Name,
    /// Whether the thing is known to have kept its side; any answer under this binding shows it
    /// (protocol section 7).
    pub confirmed: bool,
}

impl Binding {
    /// The keys of its epoch.
    #[must_use]
    pub fn keys(&self) -> EpochKeys {
        self.master.epoch(&self.thing, &self.cid, self.epoch)
    }

    /// What the machine needs to know.
    #[must_use]
    pub fn keychain(&self) -> Keychain {
        let Self { thing, cid, epoch, .. } = *self;
        Keychain { thing, cid, epoch, master: self.master.clone(), candidate: self.candidate.clone() }
    }

    /// How the local server is opened: identity and key (SecT STEP 7).
    #[must_use]
    pub fn psk(&self) -> (PskId, TlsPsk) {
        let keys = self.keys();
        (keys.psk_id, keys.psk)
    }

    /// Takes over what the machine holds now; true when that is news.
    pub fn follow(&mut self, chain: &Keychain) -> bool {
        let news = self.keychain() != *chain;
        (self.epoch, self.master, self.candidate) = (chain.epoch, chain.master.clone(), chain.candidate.clone());
        news
    }

    /// As the thing may know this controller by now: what a key update or a renewal has left open is settled
    /// in each of them, the newest first. Without either there is one.
    #[must_use]
    pub fn guises(&self) -> Vec<Self> {
        let settled = Self { candidate: None, next: None, ..self.clone() };
        let newer = self.candidate.clone().zip(self.epoch.checked_add(1));
        let newer = newer.map(|(master, epoch)| Self { epoch, master, ..settled.clone() });
        let with_login = |known: Self| {
            let next = self.next.clone().map(|next| known.clone().with_topic(next));
            next.into_iter().chain([known])
        };
        newer.into_iter().chain([settled]).flat_map(with_login).collect()
    }

    /// With the next topic and password in the place of the current ones.
    #[must_use]
    pub fn with_topic(mut self, NextTopic { topic, password }: NextTopic) -> Self {
        (self.topic, self.credentials.password, self.next) = (topic, password, None);
        self
    }

    /// The form for the keyring.
    ///
    /// # Security
    ///
    /// Serialising it writes every secret in the clear; the file must be the owner's alone.
    #[must_use]
    pub fn to_stored(&self) -> StoredBinding {
        StoredBinding {
            v: Number,
            thing: self.thing,
            ca: self.ca,
            cid: self.cid,
            topic: self.topic.clone(),
            user: self.credentials.user.clone(),
            pass: self.credentials.password.clone(),
            epoch: self.epoch,
            master: stored(&self.master),
            candidate: self.candidate.as_ref().map(stored),
            since_day: self.since_day,
            next_topic: self.next.as_ref().map(|next| next.topic.clone()),
            next_pass: self.next.as_ref().map(|next| next.password.clone()),
            key: StoredSecret(self.key.clone()),
            crt: Der(self.certificate.clone()),
            ca_crt: Der(self.ca_certificate.clone()),
            clouds: self.clouds.clone(),
            name: self.name.clone(),
            confirmed: self.confirmed,
        }
    }
}

/// A [`Binding`] as it stands in the keyring: one JSON object, unknown members refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredBinding {
    v: Number<1>,
    thing: ThingId,
    ca: SpkiHash,
    cid: Cid,
    topic: TToken,
    user: CtlrUser,
    pass: CtlrPassword,
    epoch: u32,
    master: StoredSecret<64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    candidate: Option<StoredSecret<64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since_day: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_topic: Option<TToken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_pass: Option<CtlrPassword>,
    key: StoredSecret<32>,
    crt: Der,
    ca_crt: Der,
    clouds: Vec<CloudServer>,
    name: Name,
    confirmed: bool,
}

/// A stored binding that contradicts itself: the file was damaged or edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BindingError {
    /// The thing's id is not that of its CA.
    #[error("the thing's id does not belong to its CA")]
    Thing,
    /// The controller's own key is none.
    #[error("the controller's key is not a P-256 key")]
    Key,
    /// A topic without its password, or the other way round.
    #[error("half a login")]
    Login,
    /// More cloud servers than a thing has.
    #[error("more than 4 cloud servers")]
    Clouds,
}

impl TryFrom<StoredBinding> for Binding {
    type Error = BindingError;

    fn try_from(stored: StoredBinding) -> Result<Self, BindingError> {
        if ThingId::of(&stored.ca) != stored.thing {
            return Err(BindingError::Thing);
        }
        SigningKey::from_scalar(&stored.key.0).map_err(|_| BindingError::Key)?;
        if stored.clouds.len() > MAX_CLOUDS {
            return Err(BindingError::Clouds);
        }
        let next = match (stored.next_topic, stored.next_pass) {
            (None, None) => None,
            (Some(topic), Some(password)) => Some(NextTopic { topic, password }),
            (Some(_), None) | (None, Some(_)) => return Err(BindingError::Login),
        };
        Ok(Self {
            thing: stored.thing,
            ca: stored.ca,
            cid: stored.cid,
            topic: stored.topic,
            credentials: CtlrCredentials { user: stored.user, password: stored.pass },
            epoch: stored.epoch,
            master: MasterKey::from_stored(stored.master.0),
            candidate: stored.candidate.map(|candidate| MasterKey::from_stored(candidate.0)),
            since_day: stored.since_day,
            next,
            key: stored.key.0,
            certificate: stored.crt.0,
            ca_certificate: stored.ca_crt.0,
            clouds: stored.clouds,
            name: stored.name,
            confirmed: stored.confirmed,
        })
    }
}

impl fmt::Debug for StoredBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredBinding").field("thing", &self.thing).field("cid", &self.cid).finish_non_exhaustive()
    }
}

fn stored(master: &MasterKey) -> StoredSecret<64> {
    StoredSecret(Secret::new(*master.expose()))
}

/// Secret bytes as base64url text: only a stored form has such a member.
struct StoredSecret<const N: usize>(Secret<N>);

impl<const N: usize> Serialize for StoredSecret<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(Base64UrlUnpadded::encode_string(self.0.expose())))
    }
}

impl<'de, const N: usize> Deserialize<'de> for StoredSecret<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer, |text| {
            let mut secret = Secret::new([0; N]);
            match Base64UrlUnpadded::decode(text, secret.expose_mut()) {
                Ok(bytes) if bytes.len() == N => Ok(Self(secret)),
                _ => Err("not a stored secret"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::{Counter, TextInPlace};

    fn binding() -> Binding {
        let rng = &mut Counter::new(1);
        let ca = SpkiHash::new([7; 32]);
        Binding {
            thing: ThingId::of(&ca),
            ca,
            cid: Cid::random(rng),
            topic: TToken::random(rng),
            credentials: CtlrCredentials::random(rng),
            epoch: 3,
            master: MasterKey::from_stored(Secret::random(rng)),
            candidate: None,
            since_day: None,
            next: None,
            key: SigningKey::random(rng).scalar(),
            certificate: vec![1, 2, 3],
            ca_certificate: vec![4, 5, 6],
            clouds: vec![CloudServer { host: "cloud.example".into(), port: 8884, pin: ca }],
            name: "Ada".parse().expect("valid"),
            confirmed: true,
        }
    }

    fn stored() -> String {
        serde_json::to_string(&binding().to_stored()).expect("a map with string keys")
    }

    fn read(text: &str) -> Result<Binding, String> {
        let stored: StoredBinding = serde_json::from_str(text).map_err(|error| error.to_string())?;
        stored.try_into().map_err(|error: BindingError| error.to_string())
    }

    #[test]
    fn a_stored_binding_comes_back_the_same() {
        assert_eq!(read(&stored()), Ok(binding()));
    }

    #[test]
    fn what_version_0_1_0_has_stored_is_read_as_it_is() {
        // Written by 0.1.0, for the same binding.
        let old = format!(
            r#"{{"v":1,"thing":"0707070707070707","ca":"{ca}","cid":"{cid}","topic":"{topic}","user":"{user}","pass":"{pass}","epoch":3,"master":"{master}","key":"{key}","crt":"AQID","ca_crt":"BAUG","clouds":[{{"host":"cloud.example","port":8884,"pin":"{ca}"}}],"name":"Ada","confirmed":true}}"#,
            ca = binding().ca,
            cid = binding().cid,
            topic = binding().topic.as_str(),
            user = binding().credentials.user.expose(),
            pass = binding().credentials.password.expose(),
            master = Base64UrlUnpadded::encode_string(binding().master.expose()),
            key = Base64UrlUnpadded::encode_string(binding().key.expose()),
        );
        assert_eq!(read(&old), Ok(binding()));
        assert_eq!(stored(), old, "and a binding without anything new is written so");
    }

    #[test]
    fn a_candidate_and_a_topic_in_waiting_come_back_and_give_every_guise() {
        let rng = &mut Counter::new(90);
        let next = NextTopic { topic: TToken::random(rng), password: CtlrPassword::random(rng) };
        let candidate = Some(MasterKey::from_stored(Secret::random(rng)));
        let open = Binding { candidate, next: Some(next.clone()), since_day: Some(20_000), ..binding() };
        let text = serde_json::to_string(&open.to_stored()).expect("a map with string keys");
        assert_eq!(read(&text), Ok(open.clone()));
        let half = text.replacen(&format!(r#","next_pass":"{}""#, next.password.expose()), "", 1);
        assert_ne!(half, text);
        assert_eq!(read(&half), Err(BindingError::Login.to_string()));

        let shown: Vec<_> = open.guises().iter().map(|guise| (guise.epoch, guise.topic == next.topic)).collect();
        assert_eq!(shown, [(4, true), (4, false), (3, true), (3, false)]);
        assert_eq!(binding().guises(), [binding()]);
        assert!(!format!("{open:?} {:?}", open.to_stored()).contains(next.password.expose()));
    }

    #[test]
    fn a_stored_binding_is_read_in_its_strict_form_alone() {
        let text = stored();
        for (part, other) in [
            ("\"v\":1", "\"v\":2"),
            ("\"v\":1", "\"v\":1,\"x\":1"),
            ("\"v\":1", "\"v\":1,\"epoch\":4"),
            ("\"confirmed\":true", "\"confirmed\":1"),
            ("\"epoch\":3,", ""),
            ("\"epoch\":3", "\"epoch\":4294967296"),
            ("\"key\":\"", "\"key\":\"A"),
            ("\"crt\":\"AQID\"", "\"crt\":\"AQID=\""),
            ("0707070707070707", "0707070707070708"),
        ] {
            assert!(text.contains(part), "{part}");
            assert!(read(&text.replacen(part, other, 1)).is_err(), "{part} -> {other} was read");
        }
    }

    #[test]
    fn a_binding_that_contradicts_itself_is_refused() {
        let refused = |binding: Binding| Binding::try_from(binding.to_stored()).err();
        let ca = SpkiHash::new([8; 32]);
        assert_eq!(refused(Binding { ca, ..binding() }), Some(BindingError::Thing));
        assert_eq!(refused(Binding { key: Secret::new([0; 32]), ..binding() }), Some(BindingError::Key));
        let clouds = vec![binding().clouds[0].clone(); MAX_CLOUDS + 1];
        assert_eq!(refused(Binding { clouds, ..binding() }), Some(BindingError::Clouds));
    }

    #[test]
    fn a_stored_secret_is_read_without_a_copy_of_its_text() {
        let StoredSecret(secret) = StoredSecret::<4>::deserialize(TextInPlace("AQIDBA")).expect("valid");
        assert_eq!(secret.expose(), &[1, 2, 3, 4]);
    }

    #[test]
    fn debug_shows_no_secret() {
        let binding = binding();
        let shown = format!("{binding:?} {:?}", binding.to_stored());
        let scalar = Base64UrlUnpadded::encode_string(binding.key.expose());
        let master = Base64UrlUnpadded::encode_string(binding.master.expose());
        let CtlrCredentials { user, password } = &binding.credentials;
        for secret in [binding.topic.as_str(), user.expose(), password.expose(), &scalar, &master] {
            assert!(stored().contains(secret));
            assert!(!shown.contains(secret));
        }
    }

    #[test]
    fn the_psk_is_that_of_the_epoch() {
        let binding = binding();
        let keys = binding.master.epoch(&binding.thing, &binding.cid, 3);
        assert_eq!(binding.psk(), (keys.psk_id, keys.psk));
        assert_eq!(binding.keys().c2t.kid(), keys.c2t.kid());
    }
}
