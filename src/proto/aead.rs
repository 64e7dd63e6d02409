//! A256CBC-HS512: AES-256-CBC with PKCS#7 under HMAC-SHA-512, MAC checked before anything is
//! decrypted (RFC 7518 section 5.2.5).

use std::fmt;

use aes::Aes256;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, InnerIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::secret::Secret;

/// Bytes of one AES block.
pub const BLOCK_BYTES: usize = 16;
/// Bytes of the truncated tag.
pub const TAG_BYTES: usize = 32;

/// The ciphertext is not what a holder of the key made.
///
/// One error for whatever is wrong, so that nobody learns more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not authentic")]
pub struct NotAuthentic;

/// Bytes of ciphertext that `plaintext` bytes become: the next multiple of a block, never equal.
#[must_use]
pub const fn ciphertext_bytes(plaintext: usize) -> usize {
    (plaintext / BLOCK_BYTES + 1) * BLOCK_BYTES
}

/// A key with what both algorithms make of it: no message pays for the key schedules again.
#[derive(Clone)]
pub struct Key {
    mac: Hmac<Sha512>,
    cipher: Aes256,
}

impl Key {
    /// Prepares MAC key and encryption key, which follow each other in this order (RFC 7518 section 5.2.2.1).
    #[must_use]
    pub fn new(key: &Secret<64>) -> Self {
        let (mac, enc) = key.expose().split_at(32);
        Self {
            mac: Hmac::new_from_slice(mac).expect("HMAC takes keys of any length"),
            cipher: Aes256::new_from_slice(enc).expect("half of 64 bytes"),
        }
    }

    /// Encrypts the first `plaintext` bytes of `buffer` in place and gives the tag.
    ///
    /// The ciphertext fills [`ciphertext_bytes`]`(plaintext)` bytes of the buffer.
    ///
    /// # Panics
    ///
    /// When the buffer is shorter than that.
    #[must_use]
    pub fn seal(&self, iv: &[u8; BLOCK_BYTES], aad: &[u8], buffer: &mut [u8], plaintext: usize) -> [u8; TAG_BYTES] {
        let ciphertext = cbc::Encryptor::inner_iv_init(&self.cipher, iv.into())
            .encrypt_padded::<Pkcs7>(buffer, plaintext)
            .expect("the buffer has room for the padding");
        self.tag(iv, aad, ciphertext)
    }

    /// Checks the tag, then decrypts in place and gives the plaintext.
    ///
    /// # Errors
    ///
    /// [`NotAuthentic`] when the tag or, under a good tag, the padding is wrong.
    pub fn open<'a>(
        &self,
        iv: &[u8; BLOCK_BYTES],
        aad: &[u8],
        ciphertext: &'a mut [u8],
        tag_received: &[u8; TAG_BYTES],
    ) -> Result<&'a [u8], NotAuthentic> {
        if !bool::from(self.tag(iv, aad, ciphertext).ct_eq(tag_received)) {
            return Err(NotAuthentic);
        }
        cbc::Decryptor::inner_iv_init(&self.cipher, iv.into())
            .decrypt_padded::<Pkcs7>(ciphertext)
            .map_err(|_| NotAuthentic)
    }

    /// The first half of `HMAC-SHA-512(MAC, AAD || IV || CT || u64be(bits of AAD))`.
    fn tag(&self, iv: &[u8; BLOCK_BYTES], aad: &[u8], ciphertext: &[u8]) -> [u8; TAG_BYTES] {
        let aad_bits = u64::try_from(aad.len()).expect("a length fits 64 bits") * 8;
        let full = self
            .mac
            .clone()
            .chain_update(aad)
            .chain_update(iv)
            .chain_update(ciphertext)
            .chain_update(aad_bits.to_be_bytes())
            .finalize()
            .into_bytes();
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&full[..TAG_BYTES]);
        tag
    }
}

/// What the key schedules hold is wiped on drop, in each copy; an HMAC is two hash states.
const _: fn() = || {
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<Sha512>();
    wiped::<Aes256>();
};

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    const PLAINTEXT: &[u8] = b"A cipher system must not be required to be secret, and it must be able to fall \
        into the hands of the enemy without inconvenience";
    const AAD: &[u8] = b"The second principle of Auguste Kerckhoffs";
    const IV: &str = "1af38c2dc2b96ffdd86694092341bc04";
    const CIPHERTEXT: &str = concat!(
        "4affaaadb78c31c5da4b1b590d10ffbd3dd8d5d302423526912da037ecbcc7bd",
        "822c301dd67c373bccb584ad3e9279c2e6d12a1374b77f077553df829410446b",
        "36ebd97066296ae6427ea75c2e0846a11a09ccf5370dc80bfecbad28c73f09b3",
        "a3b75e662a2594410ae496b2e2e6609e31e6e02cc837f053d21f37ff4f51950b",
        "be2638d09dd7a4930930806d0703b1f6",
    );
    const TAG: &str = "4dd3b4c088a7f45c216839645b2012bf2e6269a8c56a816dbc1b267761955bc5";

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        HEXLOWER.decode(hex.as_bytes()).expect("hex").try_into().expect("the right length")
    }

    fn key() -> Key {
        Key::new(&Secret::new(std::array::from_fn(|place| u8::try_from(place).expect("below 64"))))
    }

    #[test]
    fn rfc_7518_appendix_b_3_is_sealed_to_the_byte_and_opens() {
        let mut buffer = [0; 144];
        buffer[..PLAINTEXT.len()].copy_from_slice(PLAINTEXT);
        let tag = key().seal(&bytes(IV), AAD, &mut buffer, PLAINTEXT.len());
        assert_eq!(buffer, bytes(CIPHERTEXT));
        assert_eq!(tag, bytes(TAG));
        assert_eq!(key().open(&bytes(IV), AAD, &mut buffer, &tag), Ok(PLAINTEXT));
    }

    #[test]
    fn a_foreign_tag_aad_iv_or_ciphertext_is_refused_before_decryption() {
        let refused = |iv: [u8; 16], aad: &[u8], ciphertext: [u8; 144], tag: [u8; 32]| {
            let mut buffer = ciphertext;
            assert_eq!(key().open(&iv, aad, &mut buffer, &tag), Err(NotAuthentic));
            assert_eq!(buffer, ciphertext, "nothing was decrypted");
        };
        let (iv, ciphertext, tag) = (bytes(IV), bytes(CIPHERTEXT), bytes(TAG));
        let flipped = |mut bytes: Vec<u8>| {
            bytes[0] ^= 1;
            bytes
        };
        refused(flipped(iv.to_vec()).try_into().expect("16 bytes"), AAD, ciphertext, tag);
        refused(iv, &flipped(AAD.to_vec()), ciphertext, tag);
        refused(iv, &AAD[1..], ciphertext, tag);
        refused(iv, AAD, flipped(ciphertext.to_vec()).try_into().expect("144 bytes"), tag);
        refused(iv, AAD, ciphertext, flipped(tag.to_vec()).try_into().expect("32 bytes"));
    }
}
