//! A256CBC-HS512: AES-256-CBC with PKCS#7 under HMAC-SHA-512, MAC checked before anything is
//! decrypted (RFC 7518 section 5.2.5).

use aes::Aes256;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
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

/// Encrypts the first `plaintext` bytes of `buffer` in place and gives the tag.
///
/// The ciphertext fills [`ciphertext_bytes`]`(plaintext)` bytes of the buffer.
///
/// # Panics
///
/// When the buffer is shorter than that.
#[must_use]
pub fn seal(
    key: &Secret<64>,
    iv: &[u8; BLOCK_BYTES],
    aad: &[u8],
    buffer: &mut [u8],
    plaintext: usize,
) -> [u8; TAG_BYTES] {
    let (_, enc) = halves(key);
    let ciphertext = cbc::Encryptor::<Aes256>::new(enc.into(), iv.into())
        .encrypt_padded::<Pkcs7>(buffer, plaintext)
        .expect("the buffer has room for the padding");
    tag(key, iv, aad, ciphertext)
}

/// Checks the tag, then decrypts in place and gives the plaintext.
///
/// # Errors
///
/// [`NotAuthentic`] when the tag or, under a good tag, the padding is wrong.
pub fn open<'a>(
    key: &Secret<64>,
    iv: &[u8; BLOCK_BYTES],
    aad: &[u8],
    ciphertext: &'a mut [u8],
    tag_received: &[u8; TAG_BYTES],
) -> Result<&'a [u8], NotAuthentic> {
    if !bool::from(tag(key, iv, aad, ciphertext).ct_eq(tag_received)) {
        return Err(NotAuthentic);
    }
    let (_, enc) = halves(key);
    cbc::Decryptor::<Aes256>::new(enc.into(), iv.into()).decrypt_padded::<Pkcs7>(ciphertext).map_err(|_| NotAuthentic)
}

/// MAC key and encryption key, in this order (RFC 7518 section 5.2.2.1).
fn halves(key: &Secret<64>) -> (&[u8; 32], &[u8; 32]) {
    let (mac, enc) = key.expose().split_at(32);
    (mac.try_into().expect("half of 64 bytes"), enc.try_into().expect("half of 64 bytes"))
}

/// The first half of `HMAC-SHA-512(MAC, AAD || IV || CT || u64be(bits of AAD))`.
fn tag(key: &Secret<64>, iv: &[u8; BLOCK_BYTES], aad: &[u8], ciphertext: &[u8]) -> [u8; TAG_BYTES] {
    let (mac, _) = halves(key);
    let aad_bits = u64::try_from(aad.len()).expect("a length fits 64 bits") * 8;
    let full = Hmac::<Sha512>::new_from_slice(mac)
        .expect("HMAC takes keys of any length")
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
