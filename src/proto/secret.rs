//! Secrets that wipe themselves, print nothing and compare in constant time.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `N` secret bytes: wiped on drop, never printed, compared in constant time.
///
/// # Security
///
/// [`Secret::expose`] is the one door to the bytes; a reader who greps for it sees every use.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Takes the bytes in; the caller's copy is the caller's to wipe.
    #[must_use]
    pub fn new(bytes: [u8; N]) -> Self {
        Self(Box::new(bytes))
    }

    /// Draws fresh bytes.
    #[must_use]
    pub fn random(rng: &mut dyn rand_core::CryptoRng) -> Self {
        let mut secret = Self(Box::new([0; N]));
        rng.fill_bytes(&mut *secret.0);
        secret
    }

    /// The bytes, for the primitive that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes, for the primitive that fills them.
    pub fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>(..)")
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

/// Text that must not be seen: wiped on drop, never printed, compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretString(String);

impl SecretString {
    /// Takes the text in without copying it.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for what needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretString(..)")
    }
}

impl PartialEq for SecretString {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretString {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let bytes = format!("{:?}", Secret::new([0xab; 4]));
        let text = format!("{:?}", SecretString::new("hunter2".into()));
        assert_eq!(bytes, "Secret<4>(..)");
        assert_eq!(text, "SecretString(..)");
    }

    #[test]
    fn comparison_sees_every_byte() {
        assert_eq!(Secret::new([1, 2]), Secret::new([1, 2]));
        assert_ne!(Secret::new([1, 2]), Secret::new([1, 3]));
        assert_ne!(SecretString::new("ab".into()), SecretString::new("abc".into()));
    }
}
