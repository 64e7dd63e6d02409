//! The envelope of every message: a compact JWE of one fixed header (RFC 7516, RFC 7518 5.2.5;
//! protocol section 4).
//!
//! [`Sealed::parse`] reads the shape, [`Sealed::open`] checks the MAC and decrypts. What an
//! envelope holds is no bytes until both have passed.

use data_encoding::BASE64URL_NOPAD;
use rand_core::CryptoRng;
use serde::Serialize;
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use super::aead::{self, BLOCK_BYTES, TAG_BYTES};
use super::id::{Kid, RequestId};
use super::json::{self, Body};
use super::secret::Secret;

/// The plaintext sizes; a message is padded with spaces to the next.
pub const BUCKETS: [usize; 4] = [191, 447, 959, 1983];
/// Bytes of plaintext at most.
pub const MAX_PLAINTEXT_BYTES: usize = BUCKETS[3];
/// Bytes of a JWE at most.
pub const MAX_JWE_BYTES: usize = 2789;

const MAX_CIPHERTEXT_BYTES: usize = aead::ciphertext_bytes(MAX_PLAINTEXT_BYTES);
/// `{"alg":"dir","enc":"A256CBC-HS512","kid":"` in base64url: a multiple of three bytes, so that it stands for itself.
const HEADER_START: &[u8] = b"eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIiwia2lkIjoi";
const HEADER_END: &[u8] = br#""}"#;
/// Of the kid and what comes after it.
const HEADER_REST_BYTES: usize = Kid::CHARACTERS + HEADER_END.len();
const HEADER_CHARACTERS: usize = HEADER_START.len() + base64_characters(HEADER_REST_BYTES);

const fn base64_characters(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// The key of one direction in one epoch or pairing run, with the name it goes by in headers.
#[derive(Debug, Clone)]
pub struct EnvelopeKey {
    kid: Kid,
    secret: Secret<64>,
    key: aead::Key,
    /// The first part of each JWE under it.
    header: [u8; HEADER_CHARACTERS],
}

/// More plaintext than the largest bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a message has at most 1983 bytes, this has {0}")]
pub struct TooLong(pub usize);

/// Why bytes are no authentic envelope. The receiver drops them in silence and counts the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Unopened {
    /// More than 2789 bytes.
    #[error("too long")]
    TooLong,
    /// Not five parts, or an encrypted key in the second.
    #[error("not five parts")]
    Parts,
    /// Not the one header, to the byte.
    #[error("foreign header")]
    Header,
    /// A part is not strict base64url.
    #[error("not base64url")]
    Encoding,
    /// IV, ciphertext or tag of an impossible length.
    #[error("impossible length")]
    Length,
    /// No key here goes by that name.
    #[error("unknown kid")]
    UnknownKid,
    /// The tag does not fit.
    #[error("not authentic")]
    NotAuthentic,
}

impl EnvelopeKey {
    /// Names a key.
    #[must_use]
    pub fn new(kid: Kid, secret: Secret<64>) -> Self {
        Self { kid, key: aead::Key::new(&secret), secret, header: header(&kid) }
    }

    /// The name in the header.
    #[must_use]
    pub fn kid(&self) -> Kid {
        self.kid
    }

    /// The key, for vectors and stores.
    #[must_use]
    pub fn expose(&self) -> &[u8; 64] {
        self.secret.expose()
    }

    /// Seals a message under a fresh random IV.
    ///
    /// # Errors
    ///
    /// [`TooLong`] above 1983 bytes.
    ///
    /// # Security
    ///
    /// Its JSON is written into the buffer in which it is encrypted, and stands nowhere else.
    pub fn seal_message<B: Body + Serialize>(&self, body: &B, rng: &mut dyn CryptoRng) -> Result<Vec<u8>, TooLong> {
        let mut jwe = Vec::new();
        self.seal_message_into(body, rng, &mut jwe)?;
        Ok(jwe)
    }

    /// The same in place of what `jwe` held.
    ///
    /// # Errors
    ///
    /// [`TooLong`] above 1983 bytes; `jwe` is empty then.
    pub fn seal_message_into<B: Body + Serialize>(
        &self,
        body: &B,
        rng: &mut dyn CryptoRng,
        jwe: &mut Vec<u8>,
    ) -> Result<(), TooLong> {
        let mut buffer = [b' '; MAX_CIPHERTEXT_BYTES];
        let bytes = json::encode_into(body, &mut buffer[..MAX_PLAINTEXT_BYTES]);
        self.seal_buffer(&mut buffer, bytes, &random_iv(rng), jwe)
    }

    /// Seals JSON under a fresh random IV.
    ///
    /// # Errors
    ///
    /// [`TooLong`] above 1983 bytes.
    pub fn seal(&self, json: &[u8], rng: &mut dyn CryptoRng) -> Result<Vec<u8>, TooLong> {
        self.seal_with_iv(json, &random_iv(rng))
    }

    /// Seals JSON under a chosen IV. For test vectors: an IV must never be used twice.
    ///
    /// # Errors
    ///
    /// [`TooLong`] above 1983 bytes.
    pub fn seal_with_iv(&self, json: &[u8], iv: &[u8; BLOCK_BYTES]) -> Result<Vec<u8>, TooLong> {
        let mut buffer = [b' '; MAX_CIPHERTEXT_BYTES];
        buffer.get_mut(..json.len()).ok_or(TooLong(json.len()))?.copy_from_slice(json);
        let mut jwe = Vec::new();
        self.seal_buffer(&mut buffer, json.len(), iv, &mut jwe)?;
        Ok(jwe)
    }

    /// Encrypts in place the JSON that fills the first `bytes` of `buffer`, before spaces, so that no
    /// plaintext is left to be wiped.
    fn seal_buffer(
        &self,
        buffer: &mut [u8; MAX_CIPHERTEXT_BYTES],
        bytes: usize,
        iv: &[u8; BLOCK_BYTES],
        jwe: &mut Vec<u8>,
    ) -> Result<(), TooLong> {
        jwe.clear();
        let Some(padded) = BUCKETS.into_iter().find(|&bucket| bytes <= bucket) else {
            buffer.zeroize();
            return Err(TooLong(bytes));
        };
        let ciphertext = &mut buffer[..aead::ciphertext_bytes(padded)];

        jwe.reserve_exact(jwe_bytes(ciphertext.len()));
        jwe.extend_from_slice(&self.header);
        let tag = self.key.seal(iv, jwe, ciphertext, padded);
        jwe.extend_from_slice(b"..");
        push_base64(jwe, iv);
        jwe.push(b'.');
        push_base64(jwe, ciphertext);
        jwe.push(b'.');
        push_base64(jwe, &tag);
        Ok(())
    }
}

fn random_iv(rng: &mut dyn CryptoRng) -> [u8; BLOCK_BYTES] {
    let mut iv = [0; BLOCK_BYTES];
    rng.fill_bytes(&mut iv);
    iv
}

const fn jwe_bytes(ciphertext_bytes: usize) -> usize {
    HEADER_CHARACTERS
        + 2
        + base64_characters(BLOCK_BYTES)
        + 1
        + base64_characters(ciphertext_bytes)
        + 1
        + base64_characters(TAG_BYTES)
}

const _: () = assert!(jwe_bytes(MAX_CIPHERTEXT_BYTES) == MAX_JWE_BYTES);

fn header(kid: &Kid) -> [u8; HEADER_CHARACTERS] {
    let mut rest = [0; HEADER_REST_BYTES];
    let (middle, end) = rest.split_at_mut(Kid::CHARACTERS);
    middle.copy_from_slice(&kid.characters());
    end.copy_from_slice(HEADER_END);
    let mut text = [0; HEADER_CHARACTERS];
    let (start, encoded) = text.split_at_mut(HEADER_START.len());
    start.copy_from_slice(HEADER_START);
    BASE64URL_NOPAD.encode_mut(&rest, encoded);
    text
}

/// Nothing that passes here is secret: this encoding is fast, and takes a time that depends on what it encodes.
fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + base64_characters(bytes.len()), 0);
    BASE64URL_NOPAD.encode_mut(bytes, &mut out[start..]);
}

/// The shape of an envelope, read but not yet believed.
#[derive(Debug, Clone, Copy)]
pub struct Sealed<'a> {
    kid: Kid,
    aad: &'a [u8],
    iv: [u8; BLOCK_BYTES],
    ciphertext: &'a [u8],
    tag: [u8; TAG_BYTES],
    jwe: &'a [u8],
}

/// Room that envelopes are opened in, one after the other; what they held is wiped.
#[derive(Debug, Default)]
pub struct OpeningRoom(Zeroizing<Vec<u8>>);

impl OpeningRoom {
    /// Room for the largest envelope, so that none allocates any more.
    #[must_use]
    pub fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(MAX_CIPHERTEXT_BYTES)))
    }
}

/// The plaintext of an authentic envelope, wiped on drop.
#[derive(Debug)]
pub struct Opened {
    buffer: Zeroizing<Vec<u8>>,
    bytes: usize,
    request_id: RequestId,
}

impl<'a> Sealed<'a> {
    /// Reads the shape: steps 1 to 3 of protocol section 4, all but the kid's owner.
    ///
    /// # Errors
    ///
    /// The reason to drop these bytes.
    pub fn parse(jwe: &'a [u8]) -> Result<Self, Unopened> {
        if jwe.len() > MAX_JWE_BYTES {
            return Err(Unopened::TooLong);
        }
        let [aad, iv, ciphertext, tag] = five_parts(jwe).ok_or(Unopened::Parts)?;
        let kid = read_header(aad)?;
        let iv = read_base64(iv)?;
        let tag = read_base64(tag)?;
        Ok(Self { kid, aad, iv, ciphertext, tag, jwe })
    }

    /// Whose key it claims to be under.
    #[must_use]
    pub fn kid(&self) -> Kid {
        self.kid
    }

    /// All of it, as it went over the wire.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.jwe
    }

    /// What an answer to it would refer to.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        request_id(self.jwe)
    }

    /// Checks the MAC and decrypts: steps 4 and 6 of protocol section 4.
    ///
    /// # Errors
    ///
    /// [`Unopened::UnknownKid`] when `key` goes by another name, else the reason to drop these bytes.
    pub fn open(&self, key: &EnvelopeKey) -> Result<Opened, Unopened> {
        self.open_in(&mut OpeningRoom::default(), key)
    }

    /// The same in a room that is used again: [`Opened::leave`] gives it back.
    ///
    /// # Errors
    ///
    /// As [`Sealed::open`]; the room is not taken then.
    pub fn open_in(&self, room: &mut OpeningRoom, key: &EnvelopeKey) -> Result<Opened, Unopened> {
        if key.kid != self.kid {
            return Err(Unopened::UnknownKid);
        }
        let buffer = &mut room.0;
        // Nothing in it needs to be wiped first: what did not open was no plaintext.
        buffer.clear();
        let ciphertext_bytes = BASE64URL_NOPAD.decode_len(self.ciphertext.len()).map_err(|_| Unopened::Encoding)?;
        buffer.resize(ciphertext_bytes, 0);
        BASE64URL_NOPAD.decode_mut(self.ciphertext, buffer).map_err(|_| Unopened::Encoding)?;
        if !(BLOCK_BYTES..=MAX_CIPHERTEXT_BYTES).contains(&ciphertext_bytes) || ciphertext_bytes % BLOCK_BYTES != 0 {
            return Err(Unopened::Length);
        }
        let Ok(plaintext) = key.key.open(&self.iv, self.aad, buffer, &self.tag) else {
            // Under a good tag the padding may be wrong: then it has been decrypted.
            buffer.as_mut_slice().zeroize();
            return Err(Unopened::NotAuthentic);
        };
        let bytes = plaintext.len();
        Ok(Opened { buffer: std::mem::take(buffer), bytes, request_id: self.request_id() })
    }
}

impl Opened {
    /// The plaintext as it was sealed, with its padding.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.bytes]
    }

    /// What an answer to it refers to.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// Wipes the plaintext and gives the room back in which it was opened.
    pub fn leave(mut self, room: &mut OpeningRoom) {
        // All that was ever written lies within the length; the rest of the room was wiped before.
        self.buffer.as_mut_slice().zeroize();
        self.buffer.clear();
        room.0 = self.buffer;
    }
}

/// The first 16 bytes of SHA-256 of a JWE (protocol section 6).
#[must_use]
pub fn request_id(jwe: &[u8]) -> RequestId {
    let mut id = [0; RequestId::BYTES];
    id.copy_from_slice(&Sha256::digest(jwe)[..RequestId::BYTES]);
    RequestId::new(id)
}

/// All parts but the second, which is empty; `None` where there are not five.
fn five_parts(jwe: &[u8]) -> Option<[&[u8]; 4]> {
    let before = |text: &[u8]| text.iter().position(|&c| c == b'.');
    let (aad, rest) = jwe.split_at_checked(before(jwe)?)?;
    let rest = rest.strip_prefix(b"..")?;
    let (iv, rest) = rest.split_at_checked(before(rest)?)?;
    let rest = &rest[1..];
    // From behind: what lies between is long.
    let (ciphertext, tag) = rest.split_at_checked(rest.iter().rposition(|&c| c == b'.')?)?;
    (!ciphertext.contains(&b'.')).then_some([aad, iv, ciphertext, &tag[1..]])
}

/// The header is compared, not parsed: no other header exists (protocol section 4).
fn read_header(aad: &[u8]) -> Result<Kid, Unopened> {
    let rest = aad.strip_prefix(HEADER_START).ok_or(Unopened::Header)?;
    let rest: [u8; HEADER_REST_BYTES] = read_base64(rest).map_err(|_| Unopened::Header)?;
    rest.strip_suffix(HEADER_END)
        .and_then(|kid| std::str::from_utf8(kid).ok())
        .and_then(|kid| kid.parse().ok())
        .ok_or(Unopened::Header)
}

fn read_base64<const N: usize>(text: &[u8]) -> Result<[u8; N], Unopened> {
    if text.len() != base64_characters(N) {
        return Err(Unopened::Length);
    }
    let mut bytes = [0; N];
    BASE64URL_NOPAD.decode_mut(text, &mut bytes).map_err(|_| Unopened::Encoding)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::Counter;

    fn key() -> EnvelopeKey {
        EnvelopeKey::new(Kid::new([7; 8]), Secret::new([9; 64]))
    }

    fn sealed(json: &[u8]) -> Vec<u8> {
        key().seal(json, &mut Counter::new(0)).expect("short enough")
    }

    fn open(jwe: &[u8]) -> Result<Vec<u8>, Unopened> {
        Sealed::parse(jwe)?.open(&key()).map(|opened| opened.bytes().to_vec())
    }

    #[test]
    fn an_envelope_has_one_of_four_sizes() {
        for (plaintext, jwe) in
            [(0, 399), (191, 399), (192, 741), (447, 741), (448, 1423), (959, 1423), (960, 2789), (1983, 2789)]
        {
            assert_eq!(sealed(&vec![b'x'; plaintext]).len(), jwe, "{plaintext} bytes");
        }
        assert_eq!(key().seal(&[b'x'; 1984], &mut Counter::new(0)), Err(TooLong(1984)));
    }

    #[derive(Serialize)]
    struct Note {
        text: String,
    }

    impl Body for Note {
        const T: &'static str = "note";
    }

    #[test]
    fn a_message_is_sealed_as_its_json_would_be() {
        let frame = json::encode(&Note { text: String::new() }).len();
        for bytes in [frame, 191, 192, 1983] {
            let note = Note { text: "x".repeat(bytes - frame) };
            let text = json::encode(&note);
            assert_eq!(text.len(), bytes);
            assert_eq!(key().seal_message(&note, &mut Counter::new(0)), Ok(sealed(&text)));
        }
        for bytes in [1984, 5000] {
            let note = Note { text: "x".repeat(bytes - frame) };
            assert_eq!(key().seal_message(&note, &mut Counter::new(0)), Err(TooLong(bytes)));
        }
    }

    #[test]
    fn what_was_sealed_opens_with_its_padding() {
        let opened = open(&sealed(b"{}")).expect("authentic");
        assert_eq!(opened.len(), 191);
        assert_eq!(opened.trim_ascii_end(), b"{}");
    }

    #[test]
    fn a_room_is_empty_again_and_serves_the_next() {
        let mut room = OpeningRoom::new();
        let capacity = room.0.capacity();
        for length in [1983, 5, 447, 192] {
            let jwe = sealed(&vec![b'x'; length]);
            let opened = Sealed::parse(&jwe).and_then(|sealed| sealed.open_in(&mut room, &key())).expect("authentic");
            assert_eq!(opened.bytes().trim_ascii_end(), vec![b'x'; length]);
            assert_eq!((opened.buffer.capacity(), room.0.capacity()), (capacity, 0), "the room was taken");
            opened.leave(&mut room);
            assert_eq!((room.0.len(), room.0.capacity()), (0, capacity), "the room was given back");
            // What stood in it is seen when the room is filled without writing: nothing.
            let mut forged = jwe.clone();
            *forged.last_mut().expect("not empty") ^= 4;
            assert!(Sealed::parse(&forged).and_then(|sealed| sealed.open_in(&mut room, &key())).is_err());
            assert_eq!(room.0.capacity(), capacity, "a forgery took the room");
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let jwe = sealed(br#"{"on":false}"#);
        for place in 0..jwe.len() {
            for bit in 0..8 {
                let mut forged = jwe.clone();
                forged[place] ^= 1 << bit;
                assert!(open(&forged).is_err(), "bit {bit} of byte {place} went unseen");
            }
        }
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let jwe = sealed(br#"{"on":false}"#);
        for length in 0..jwe.len() {
            assert!(open(&jwe[..length]).is_err(), "{length} bytes were taken");
        }
        for tail in [".", "A", "..", "\n", " "] {
            assert!(open(&[&jwe, tail.as_bytes()].concat()).is_err());
        }
        assert_eq!(open(&vec![b'A'; MAX_JWE_BYTES + 1]), Err(Unopened::TooLong));
    }

    #[test]
    fn only_the_one_header_is_read() {
        let jwe = String::from_utf8(sealed(b"{}")).expect("ASCII");
        let body = &jwe[jwe.find('.').expect("five parts")..];
        let kid = Kid::new([7; 8]);
        let the_one = format!(r#"{{"alg":"dir","enc":"A256CBC-HS512","kid":"{kid}"}}"#);
        assert!(jwe.starts_with(&BASE64URL_NOPAD.encode(the_one.as_bytes())));
        for header in [
            format!(r#"{{"enc":"A256CBC-HS512","alg":"dir","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"dir","enc":"A256CBC-HS512","kid":"{kid}","zip":"DEF"}}"#),
            format!(r#"{{"alg":"dir","enc":"A128CBC-HS256","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"none","enc":"A256CBC-HS512","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"dir", "enc":"A256CBC-HS512","kid":"{kid}"}}"#),
            r#"{"alg":"dir","enc":"A256CBC-HS512"}"#.to_owned(),
            String::new(),
        ] {
            let forged = format!("{}{body}", BASE64URL_NOPAD.encode(header.as_bytes()));
            assert_eq!(open(forged.as_bytes()), Err(Unopened::Header), "{header}");
        }
    }

    #[test]
    fn an_encrypted_key_in_the_second_part_is_refused() {
        let jwe = String::from_utf8(sealed(b"{}")).expect("ASCII");
        assert_eq!(open(jwe.replacen("..", ".AA.", 1).as_bytes()), Err(Unopened::Parts));
    }

    #[test]
    fn another_direction_or_epoch_has_another_key() {
        let other = EnvelopeKey::new(Kid::new([8; 8]), Secret::new([9; 64]));
        let jwe = sealed(b"{}");
        let sealed = Sealed::parse(&jwe).expect("well formed");
        assert_eq!(sealed.open(&other).expect_err("another name"), Unopened::UnknownKid);
        let same_name = EnvelopeKey::new(Kid::new([7; 8]), Secret::new([8; 64]));
        assert_eq!(sealed.open(&same_name).expect_err("another key"), Unopened::NotAuthentic);
    }
}
