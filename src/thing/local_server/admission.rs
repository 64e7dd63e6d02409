//! Who is let in: one PSK identity, its key, its login and its two topics (SecT STEP 3, 5, 7).

use std::sync::{Arc, PoisonError, RwLock};

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::mqtt::server::ConnectRequest;
use crate::proto::secret::{Secret, SecretString};

pub use crate::proto::action::NewSessions;

/// What one controller, pairing or invitation may do at the local server.
///
/// An identity may stand in the list more than once, with the same key and different logins: that is a
/// controller between two T_tokens, and the login chooses the topics of the session (protocol section 6).
#[derive(Clone, Debug)]
pub struct Admission {
    /// The identity of the TLS-PSK, as the client sends it: 1 to 255 bytes without a zero byte.
    pub psk_identity: String,
    /// The TLS-PSK.
    pub key: Secret<32>,
    /// User name and password of the CONNECT; `None` if it must carry neither.
    pub login: Option<Login>,
    /// The one topic that it may publish to.
    pub publish: String,
    /// The one topic that it may subscribe to.
    pub subscribe: String,
    /// Sessions at the same time.
    pub max_sessions: usize,
    /// What happens to one session more.
    pub when_full: WhenFull,
    /// Whether new sessions may be opened. The open ones go on in any case: those of a past epoch's PSK
    /// (protocol section 8) or of a used invitation's (section 9).
    pub new_sessions: NewSessions,
}

/// Ctlr-U and Ctlr-P (SecT STEP 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Ctlr-U.
    pub user: String,
    /// Ctlr-P.
    pub password: SecretString,
}

/// What happens when an admission has all its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The new session is refused: somebody else may hold the old ones.
    Refuse,
    /// The oldest session ends: its holder is the one who comes again.
    EndOldest,
}

impl Admission {
    /// Whether a session under `self` may go on under `other`.
    fn grants_the_same(&self, other: &Self) -> bool {
        self.psk_identity == other.psk_identity
            && self.key == other.key
            && self.login == other.login
            && self.publish == other.publish
            && self.subscribe == other.subscribe
    }

    /// Whose sessions they are: one name for all keys and topics of a controller.
    pub(super) fn holder(&self) -> &str {
        self.login.as_ref().map_or(&self.psk_identity, |login| &login.user)
    }

    /// Whether the CONNECT's user name and password are the ones asked for.
    pub(super) fn allows(&self, request: &ConnectRequest<'_>) -> Choice {
        match (&self.login, request.user, request.password) {
            (None, None, None) => Choice::from(1),
            (Some(login), Some(user), Some(password)) => {
                login.user.as_bytes().ct_eq(user.as_bytes()) & login.password.expose().as_bytes().ct_eq(password)
            }
            (None, ..) | (Some(_), None, _) | (Some(_), _, None) => Choice::from(0),
        }
    }
}

/// An admission with a number that stays while what it grants stays.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) serial: u64,
    pub(super) admission: Admission,
}

/// The list in force.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    entries: Vec<Arc<Entry>>,
    next_serial: u64,
}

impl Admissions {
    /// Puts another list in force.
    pub(super) fn replace(&mut self, admissions: Vec<Admission>) {
        let entries = admissions.into_iter().map(|admission| {
            let old = self.entries.iter().find(|old| old.admission.grants_the_same(&admission));
            let serial = old.map_or_else(
                || {
                    self.next_serial += 1;
                    self.next_serial
                },
                |old| old.serial,
            );
            Arc::new(Entry { serial, admission })
        });
        self.entries = entries.collect();
    }

    pub(super) fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The entry in force now that grants what `serial` granted.
    pub(super) fn by_serial(&self, serial: u64) -> Option<&Arc<Entry>> {
        self.entries.iter().find(|entry| entry.serial == serial)
    }

    /// The entries that a handshake under `claimed` opens the way to.
    pub(super) fn claimed(&self, claimed: &Entry) -> impl Iterator<Item = &Arc<Entry>> {
        self.with_key_of(claimed, NewSessions::Open)
    }

    /// Whether a handshake under `claimed` is one that somebody wants to know of.
    pub(super) fn is_watched(&self, claimed: &Entry) -> bool {
        self.with_key_of(claimed, NewSessions::Watched).next().is_some()
    }

    fn with_key_of(&self, claimed: &Entry, new_sessions: NewSessions) -> impl Iterator<Item = &Arc<Entry>> {
        let (identity, key) = (claimed.admission.psk_identity.clone(), claimed.admission.key.clone());
        self.entries.iter().filter(move |entry| {
            let admission = &entry.admission;
            admission.new_sessions == new_sessions && admission.psk_identity == identity && admission.key == key
        })
    }
}

/// What the handshake of one connection has claimed: the entry whose key was handed to OpenSSL.
#[derive(Clone, Debug)]
pub(super) struct Claim(pub(super) Option<Arc<Entry>>);

/// The keys, shared with OpenSSL's callback; touched once for each handshake.
pub(super) struct KeyRing {
    entries: RwLock<Vec<Arc<Entry>>>,
    /// What an unknown identity gets: nobody knows it, so that it fails as a wrong key does.
    nobody: Secret<32>,
}

impl KeyRing {
    pub(super) fn new(nobody: Secret<32>) -> Self {
        Self { entries: RwLock::default(), nobody }
    }

    pub(super) fn replace(&self, entries: Vec<Arc<Entry>>) {
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = entries;
    }

    /// Writes the key of `identity` to `key`. Known or not, first or last in the list: the work is the same.
    pub(super) fn find(&self, identity: &[u8], key: &mut [u8; 32]) -> Claim {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        key.copy_from_slice(self.nobody.expose());
        let mut claim = Claim(None);
        for entry in entries.iter().filter(|entry| entry.admission.new_sessions != NewSessions::Closed) {
            let found = entry.admission.psk_identity.as_bytes().ct_eq(identity);
            for (byte, candidate) in key.iter_mut().zip(entry.admission.key.expose()) {
                byte.conditional_assign(candidate, found);
            }
            if bool::from(found) {
                claim = Claim(Some(entry.clone()));
            }
        }
        claim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(identity: &str, key: u8) -> Admission {
        Admission {
            psk_identity: identity.into(),
            key: Secret::new([key; 32]),
            login: Some(Login { user: "user".into(), password: SecretString::new("pass".into()) }),
            publish: "s/t/c".into(),
            subscribe: "s/t/t".into(),
            max_sessions: 2,
            when_full: WhenFull::EndOldest,
            new_sessions: NewSessions::Open,
        }
    }

    fn key_of(ring: &KeyRing, identity: &[u8]) -> (u8, Option<String>) {
        let mut key = [0; 32];
        let claim = ring.find(identity, &mut key);
        (key[0], claim.0.map(|entry| entry.admission.psk_identity.clone()))
    }

    #[test]
    fn an_unknown_identity_gets_a_key_that_nobody_has() {
        let mut admissions = Admissions::default();
        admissions.replace(vec![admission("a", 1), admission("b", 2)]);
        let ring = KeyRing::new(Secret::new([9; 32]));
        assert_eq!(key_of(&ring, b"a"), (9, None));
        ring.replace(admissions.entries().to_vec());
        assert_eq!(key_of(&ring, b"a"), (1, Some("a".into())));
        assert_eq!(key_of(&ring, b"b"), (2, Some("b".into())));
        for unknown in [&b"c"[..], b"", b"ab", b"A"] {
            assert_eq!(key_of(&ring, unknown), (9, None));
        }
    }

    #[test]
    fn a_closed_admission_has_no_key_but_keeps_its_serial() {
        let mut admissions = Admissions::default();
        admissions.replace(vec![admission("a", 1)]);
        let serial = admissions.entries()[0].serial;
        admissions.replace(vec![Admission { new_sessions: NewSessions::Closed, max_sessions: 7, ..admission("a", 1) }]);
        assert_eq!(admissions.entries()[0].serial, serial);
        let ring = KeyRing::new(Secret::new([9; 32]));
        ring.replace(admissions.entries().to_vec());
        assert_eq!(key_of(&ring, b"a"), (9, None));
    }

    #[test]
    fn other_rights_are_another_admission() {
        for changed in [
            Admission { key: Secret::new([2; 32]), ..admission("a", 1) },
            Admission { login: None, ..admission("a", 1) },
            Admission { publish: "s/u/c".into(), ..admission("a", 1) },
            Admission { subscribe: "s/u/t".into(), ..admission("a", 1) },
            admission("b", 1),
        ] {
            let mut admissions = Admissions::default();
            admissions.replace(vec![admission("a", 1)]);
            let serial = admissions.entries()[0].serial;
            admissions.replace(vec![changed]);
            assert!(admissions.by_serial(serial).is_none());
        }
    }

    #[test]
    fn login_is_all_or_nothing() {
        let request = |user, password| ConnectRequest { client_id: "", user, password };
        let with = admission("a", 1);
        let without = Admission { login: None, ..admission("a", 1) };
        let right = request(Some("user"), Some(&b"pass"[..]));
        assert!(bool::from(with.allows(&right)) && !bool::from(without.allows(&right)));
        let none = request(None, None);
        assert!(!bool::from(with.allows(&none)) && bool::from(without.allows(&none)));
        for (user, password) in [
            (Some("user"), None),
            (None, Some(&b"pass"[..])),
            (Some("user"), Some(&b"past"[..])),
            (Some("uses"), Some(b"pass")),
            (Some("user"), Some(b"")),
        ] {
            assert!(!bool::from(with.allows(&request(user, password))));
            assert!(!bool::from(without.allows(&request(user, password))));
        }
    }
}
