//! An invitation: what the owner's QR code carries to a further controller (SecT STEP 16; protocol
//! section 9).
//!
//! `SECT1:` and base32 without padding of `1 | thing_id(8) | first 16 bytes of SHA-256(CA SPKI) |
//! invite_id(8) | invite_secret(16)`: 85 characters that a QR code holds in its alphanumeric mode.
//! It opens one pairing run within 600 s; who photographs it later has nothing.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use super::id::{InviteId, SpkiHash, ThingId};
use super::keys::{self, TlsPsk};
use super::secret::{Secret, SecretString};

const PREFIX: &str = "SECT1:";
const VERSION: u8 = 1;
const PIN_BYTES: usize = 16;
const BYTES: usize = 1 + 8 + PIN_BYTES + InviteId::BYTES + 16;
const BASE32_CHARACTERS: usize = (BYTES * 8).div_ceil(5);

/// A one-time invitation to one thing.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The thing that invites.
    pub thing: ThingId,
    /// Which of its invitations this is.
    pub id: InviteId,
    /// The code of the pairing run, known to the thing and to whoever holds the invitation.
    pub secret: Secret<16>,
    ca: [u8; PIN_BYTES],
}

/// Text that is no invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvitationError {
    /// Something else than `SECT1:` at the start: not an invitation, or one of a later version.
    #[error("an invitation starts with SECT1:")]
    Prefix,
    /// Not 85 characters.
    #[error("an invitation has 85 characters, this has {0}")]
    Length(usize),
    /// Not base32, or not the one base32 form of its bytes.
    #[error("an invitation has only the letters A to Z and the digits 2 to 7")]
    Encoding,
    /// A layout of a later version.
    #[error("an invitation of the unknown version {0}")]
    Version(u8),
}

impl Invitation {
    /// Characters of its text.
    pub const CHARACTERS: usize = PREFIX.len() + BASE32_CHARACTERS;

    /// Draws a fresh one for the thing whose CA has this hash.
    #[must_use]
    pub fn random(ca: &SpkiHash, rng: &mut dyn CryptoRng) -> Self {
        Self::of(ca, InviteId::random(rng), Secret::random(rng))
    }

    /// The invitation of a known id and secret.
    #[must_use]
    pub fn of(ca: &SpkiHash, id: InviteId, secret: Secret<16>) -> Self {
        let mut pin = [0; PIN_BYTES];
        pin.copy_from_slice(&ca.as_bytes()[..PIN_BYTES]);
        Self { thing: ThingId::of(ca), id, secret, ca: pin }
    }

    /// The text of the QR code, in upper case.
    #[must_use]
    pub fn text(&self) -> SecretString {
        let mut bytes = Zeroizing::new([0; BYTES]);
        let fields: [&[u8]; 5] =
            [&[VERSION], self.thing.as_bytes(), &self.ca, self.id.as_bytes(), self.secret.expose()];
        let mut rest = bytes.as_mut_slice();
        for field in fields {
            let (place, after) = rest.split_at_mut(field.len());
            place.copy_from_slice(field);
            rest = after;
        }
        // The whole room at once: a string that grows leaves copies of the secret behind.
        let mut text = String::with_capacity(Self::CHARACTERS);
        text.push_str(PREFIX);
        BASE32_NOPAD.encode_append(bytes.as_slice(), &mut text);
        SecretString::new(text)
    }

    /// The TLS-PSK identity of its pairing run: `i` and the id.
    #[must_use]
    pub fn psk_identity(&self) -> String {
        format!("i{}", self.id)
    }

    /// The TLS-PSK of its pairing run.
    #[must_use]
    pub fn psk(&self) -> TlsPsk {
        keys::invitation_psk(&self.secret)
    }

    /// Whether a CA, with the thing id that follows from it, is the one that the invitation names:
    /// the controller checks M2's and M6's before it trusts them.
    #[must_use]
    pub fn pins(&self, ca: &SpkiHash) -> bool {
        self.thing == ThingId::of(ca) && ca.as_bytes().starts_with(&self.ca)
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").field("thing", &self.thing).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Reads the text, in either case; white space around it is the caller's to cut off.
impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let text = text.as_bytes();
        let (prefix, base32) = text.split_at_checked(PREFIX.len()).ok_or(InvitationError::Prefix)?;
        if !prefix.eq_ignore_ascii_case(PREFIX.as_bytes()) {
            return Err(InvitationError::Prefix);
        }
        if base32.len() != BASE32_CHARACTERS {
            return Err(InvitationError::Length(text.len()));
        }
        let mut bytes = Zeroizing::new([0; BYTES]);
        // Bits beyond the last byte must be zero, or one invitation would have several texts.
        BASE32_NOPAD_NOCASE.decode_mut(base32, bytes.as_mut_slice()).map_err(|_| InvitationError::Encoding)?;

        let [version, rest @ ..] = &*bytes;
        if *version != VERSION {
            return Err(InvitationError::Version(*version));
        }
        let (thing, rest) = rest.split_first_chunk().expect("49 bytes hold the four fields");
        let (ca, rest) = rest.split_first_chunk().expect("49 bytes hold the four fields");
        let (id, rest) = rest.split_first_chunk().expect("49 bytes hold the four fields");
        let mut secret = Secret::new([0; 16]);
        secret.expose_mut().copy_from_slice(rest);
        Ok(Self { thing: ThingId::new(*thing), id: InviteId::new(*id), secret, ca: *ca })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::Counter;

    fn ca() -> SpkiHash {
        SpkiHash::new([0xca; 32])
    }

    fn invitation() -> Invitation {
        Invitation::random(&ca(), &mut Counter::new(0))
    }

    #[test]
    fn an_invitation_is_read_back_in_either_case() {
        let text = invitation().text();
        assert_eq!(text.expose().len(), 85);
        assert_eq!(text.expose().parse(), Ok(invitation()));
        assert_eq!(text.expose().to_ascii_lowercase().parse(), Ok(invitation()));
        assert_eq!(text.expose().parse::<Invitation>().expect("valid").text(), text);
    }

    #[test]
    fn an_invitation_fits_the_alphanumeric_mode_of_a_qr_code() {
        let text = invitation().text();
        assert!(text.expose().bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b':'));
    }

    #[test]
    fn what_is_no_invitation_is_refused_with_its_reason() {
        let text = invitation().text();
        let text = text.expose();
        let read = |text: &str| text.parse::<Invitation>();
        assert_eq!(read(""), Err(InvitationError::Prefix));
        assert_eq!(read("SECT1"), Err(InvitationError::Prefix));
        assert_eq!(read(&text.replace("SECT1:", "SECT2:")), Err(InvitationError::Prefix));
        assert_eq!(read(&format!(" {text}")), Err(InvitationError::Prefix));
        assert_eq!(read("SECT1:"), Err(InvitationError::Length(6)));
        assert_eq!(read(&text[..84]), Err(InvitationError::Length(84)));
        assert_eq!(read(&format!("{text}\n")), Err(InvitationError::Length(86)));
        assert_eq!(read(&format!("{text}=")), Err(InvitationError::Length(86)));
        assert_eq!(read(&format!("{}1", &text[..84])), Err(InvitationError::Encoding));
        assert_eq!(read(&format!("{}=", &text[..84])), Err(InvitationError::Encoding));
        assert_eq!(read(&format!("{}é", &text[..83])), Err(InvitationError::Encoding));
        assert_eq!(read(&text.replace("SECT1:AH", "SECT1:AL")), Err(InvitationError::Version(2)));
    }

    #[test]
    fn one_invitation_has_one_text() {
        let text = invitation().text();
        let (head, last) = text.expose().split_at(84);
        let read: Vec<char> =
            ('A'..='Z').chain('2'..='7').filter(|c| format!("{head}{c}").parse::<Invitation>().is_ok()).collect();
        // The last character carries two bits of the secret and three that are zero.
        assert_eq!(read, ['A', 'I', 'Q', 'Y']);
        assert!(read.contains(&last.chars().next().expect("one character")));
    }

    #[test]
    fn an_invitation_pins_its_thing_and_no_other() {
        assert!(invitation().pins(&ca()));
        for place in 0..PIN_BYTES {
            let mut other = *ca().as_bytes();
            other[place] ^= 1;
            assert!(!invitation().pins(&SpkiHash::new(other)), "byte {place}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", invitation());
        assert_eq!(
            shown,
            format!("Invitation {{ thing: {}, id: {:?}, .. }}", "ThingId(cacacacacacacaca)", invitation().id)
        );
    }
}
