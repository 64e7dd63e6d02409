//! ECDSA P-256 over a named message: the proof that a controller holds its key (SecT STEP 6) and the
//! recovery signature (protocol sections 2, 7, 9).
//!
//! What is signed is `name || message`, hashed once with SHA-256; a signature is 64 bytes, r || s.
//! Signing is deterministic (RFC 6979), so that a poor random source gives no key away.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use p256::ecdsa::signature::{MultipartSigner, MultipartVerifier};
use p256::ecdsa::{Signature as Ecdsa, SigningKey as P256SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroize;

use super::id::{IdError, Signature, SpkiHash};
use super::keys;
use super::secret::{Secret, SecretString};
use super::text;

/// Names the proof of possession of M3: signed with the transcript hash (protocol section 7).
pub const POP: &str = "SecT-v1/pop\0";
/// Names the signature of `pair.recover`: signed with the transcript hash (protocol section 9).
pub const RECOVER: &str = "SecT-v1/recover\0";

/// All of a P-256 SubjectPublicKeyInfo but its point (RFC 5480 section 2): id-ecPublicKey,
/// secp256r1, and the head of a bit string of 65 bytes.
const SPKI_START: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// How an uncompressed point starts (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// A private P-256 key: wiped on drop, never printed.
pub struct SigningKey(P256SigningKey);

/// 32 bytes that are no private key: zero, or not below the order of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a P-256 private key")]
pub struct BadScalar;

/// Text that is no unencrypted PKCS#8 PEM of a P-256 private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a P-256 private key in PEM (PKCS#8, unencrypted)")]
pub struct BadKeyPem;

/// The signature is not one of this key over this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("bad signature")]
pub struct BadSignature;

impl SigningKey {
    /// Draws a fresh one.
    #[must_use]
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        loop {
            // Fewer than one draw in 2^32 is no scalar.
            if let Ok(key) = Self::from_scalar(&Secret::random(rng)) {
                return key;
            }
        }
    }

    /// The key of a known scalar, 32 bytes big-endian.
    ///
    /// # Errors
    ///
    /// [`BadScalar`] when it is zero or not below the order of the curve.
    pub fn from_scalar(scalar: &Secret<32>) -> Result<Self, BadScalar> {
        P256SigningKey::from_slice(scalar.expose()).map(Self).map_err(|_| BadScalar)
    }

    /// The scalar, for the store.
    #[must_use]
    pub fn scalar(&self) -> Secret<32> {
        let mut scalar = Secret::new([0; 32]);
        let mut bytes = self.0.to_bytes();
        scalar.expose_mut().copy_from_slice(&bytes);
        bytes.zeroize();
        scalar
    }

    /// Reads the PEM form: unencrypted PKCS#8 (RFC 5958).
    ///
    /// # Errors
    ///
    /// [`BadKeyPem`] for another form, algorithm or curve.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, BadKeyPem> {
        P256SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|_| BadKeyPem)
    }

    /// The PEM form, for the file of a key that TLS uses.
    #[must_use]
    pub fn to_pkcs8_pem(&self) -> SecretString {
        let mut pem = self.0.to_pkcs8_pem(LineEnding::LF).expect("a P-256 key always encodes");
        SecretString::new(std::mem::take(&mut *pem))
    }

    /// The public half.
    #[must_use]
    pub fn spki(&self) -> Spki {
        Spki::of(self.0.verifying_key())
    }

    /// Signs `name || message`; the name is one of this module's constants.
    #[must_use]
    pub fn sign(&self, name: &str, message: &[u8]) -> Signature {
        let signature: Ecdsa = self.0.multipart_sign(&[name.as_bytes(), message]);
        Signature::new(signature.to_bytes().into())
    }

    /// Signs a message as X.509 wants it: `Ecdsa-Sig-Value` in DER (RFC 3279 section 2.2.3).
    pub(super) fn sign_x509(&self, message: &[u8]) -> Vec<u8> {
        let signature: Ecdsa = self.0.multipart_sign(&[message]);
        signature.to_der().as_bytes().to_vec()
    }
}

/// A public P-256 key as the DER SubjectPublicKeyInfo of its uncompressed point, the one form that
/// is read: 91 bytes, 122 characters of base64url.
#[derive(Clone, Copy)]
pub struct Spki {
    der: [u8; Self::BYTES],
    key: VerifyingKey,
}

impl Spki {
    /// Bytes of its DER form.
    pub const BYTES: usize = 91;
    /// Characters of its base64url form.
    pub const CHARACTERS: usize = 122;

    /// Reads the DER form.
    ///
    /// # Errors
    ///
    /// [`IdError`] for another algorithm, curve, length or encoding, and for what is no point of
    /// the curve.
    pub fn from_der(der: &[u8]) -> Result<Self, IdError> {
        let error = IdError("P-256 public key");
        let der: [u8; Self::BYTES] = der.try_into().map_err(|_| error)?;
        match der.strip_prefix(&SPKI_START) {
            // A compressed or hybrid point would be a second form of the same key.
            Some(point) if point[0] == UNCOMPRESSED => {
                VerifyingKey::from_sec1_bytes(point).map(|key| Self { der, key }).map_err(|_| error)
            }
            _ => Err(error),
        }
    }

    fn of(key: &VerifyingKey) -> Self {
        let mut der = [0; Self::BYTES];
        let (start, point) = der.split_at_mut(SPKI_START.len());
        start.copy_from_slice(&SPKI_START);
        point.copy_from_slice(key.to_sec1_point(false).as_bytes());
        Self { der, key: *key }
    }

    /// The DER form.
    #[must_use]
    pub const fn as_der(&self) -> &[u8; Self::BYTES] {
        &self.der
    }

    /// SHA-256 of the DER form: what pins it.
    #[must_use]
    pub fn hash(&self) -> SpkiHash {
        keys::spki_hash(&self.der)
    }

    /// Checks a signature over `name || message`.
    ///
    /// # Errors
    ///
    /// [`BadSignature`], whatever is wrong with it.
    pub fn verify(&self, name: &str, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let signature = Ecdsa::from_slice(signature.as_bytes()).map_err(|_| BadSignature)?;
        self.key.multipart_verify(&[name.as_bytes(), message], &signature).map_err(|_| BadSignature)
    }

    /// Checks an X.509 signature (RFC 3279 section 2.2.3).
    pub(super) fn verify_x509(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let signature = Ecdsa::from_der(signature).map_err(|_| BadSignature)?;
        self.key.multipart_verify(&[message], &signature).map_err(|_| BadSignature)
    }

    /// The uncompressed point alone, 65 bytes.
    pub(super) fn point(&self) -> &[u8] {
        &self.der[SPKI_START.len()..]
    }
}

impl PartialEq for Spki {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Spki {}

impl fmt::Display for Spki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&Base64UrlUnpadded::encode_string(&self.der))
    }
}

impl fmt::Debug for Spki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spki({self})")
    }
}

impl FromStr for Spki {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut der = [0; Self::BYTES];
        let der = Base64UrlUnpadded::decode(text, &mut der).map_err(|_| IdError("P-256 public key"))?;
        Self::from_der(der)
    }
}

impl Serialize for Spki {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Spki {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::Counter;

    fn key() -> SigningKey {
        SigningKey::random(&mut Counter::new(1))
    }

    #[test]
    fn a_signature_holds_for_its_key_name_and_message_alone() {
        let (key, other) = (key(), SigningKey::random(&mut Counter::new(2)));
        let signature = key.sign(POP, b"th");
        assert_eq!(key.spki().verify(POP, b"th", &signature), Ok(()));
        assert_eq!(key.spki().verify(POP, b"tH", &signature), Err(BadSignature));
        assert_eq!(key.spki().verify(RECOVER, b"th", &signature), Err(BadSignature));
        assert_eq!(other.spki().verify(POP, b"th", &signature), Err(BadSignature));
        assert_eq!(key.spki().verify(POP, b"th", &Signature::new([0; 64])), Err(BadSignature));
        assert_eq!(key.spki().verify(POP, b"th", &Signature::new([0xff; 64])), Err(BadSignature));
    }

    #[test]
    fn a_stored_scalar_gives_the_same_key_and_the_same_signatures() {
        let again = SigningKey::from_scalar(&key().scalar()).expect("a scalar");
        assert_eq!(again.spki(), key().spki());
        assert_eq!(again.sign(POP, b"th"), key().sign(POP, b"th"));
    }

    #[test]
    fn a_key_survives_its_pem() {
        let pem = key().to_pkcs8_pem();
        assert!(pem.expose().starts_with("-----BEGIN PRIVATE KEY-----\n"), "PKCS#8");
        assert_eq!(SigningKey::from_pkcs8_pem(pem.expose()).expect("its own").spki(), key().spki());
        for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert_eq!(SigningKey::from_pkcs8_pem(text).err(), Some(BadKeyPem), "{text:?}");
        }
    }

    #[test]
    fn zero_and_the_order_are_no_scalars() {
        let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
        let order = data_encoding::HEXLOWER.decode(order.as_bytes()).expect("hex").try_into().expect("32 bytes");
        assert_eq!(SigningKey::from_scalar(&Secret::new([0; 32])).err(), Some(BadScalar));
        assert_eq!(SigningKey::from_scalar(&Secret::new(order)).err(), Some(BadScalar));
    }

    #[test]
    fn a_public_key_has_one_form() {
        let spki = key().spki();
        let der = *spki.as_der();
        assert_eq!(Spki::from_der(&der), Ok(spki));
        assert_eq!(spki.to_string().len(), Spki::CHARACTERS);
        assert_eq!(spki.to_string().parse(), Ok(spki));
        assert_eq!(serde_json::from_str::<Spki>(&format!("\"{spki}\"")).expect("valid"), spki);

        assert!(Spki::from_der(&der[..90]).is_err());
        assert!(Spki::from_der(&[&der[..], &[0]].concat()).is_err());
        assert!(format!("{spki}=").parse::<Spki>().is_err());
        for place in 0..der.len() {
            for bit in 0..8 {
                let mut forged = der;
                forged[place] ^= 1 << bit;
                // Another algorithm, another form, or a point beside the curve.
                assert!(Spki::from_der(&forged).is_err(), "bit {bit} of byte {place} went unseen");
            }
        }
    }

    #[test]
    fn a_compressed_point_is_refused() {
        let spki = key().spki();
        let compressed = spki.key.to_sec1_point(true);
        let mut der = SPKI_START.to_vec();
        der[1] = 0x39;
        der[24] = 0x22;
        der.extend_from_slice(compressed.as_bytes());
        assert!(Spki::from_der(&der).is_err());
    }
}
