//! Unbiased random text over an alphabet.

use rand_core::CryptoRng;

/// Draws `N` characters of `alphabet`, each with the same chance.
///
/// Bytes beyond the largest multiple of the alphabet's length are thrown away, so that no
/// character is likelier than another.
pub(crate) fn characters<const N: usize>(alphabet: &[u8], rng: &mut dyn CryptoRng) -> [u8; N] {
    assert!((1..=256).contains(&alphabet.len()), "an alphabet has 1 to 256 characters");
    let fair = 256 - 256 % alphabet.len();
    let mut text = [0; N];
    for character in &mut text {
        *character = loop {
            let mut byte = [0];
            rng.fill_bytes(&mut byte);
            if usize::from(byte[0]) < fair {
                break alphabet[usize::from(byte[0]) % alphabet.len()];
            }
        };
    }
    text
}

/// Whether `text` is exactly `N` characters of `alphabet`.
pub(crate) fn is_drawn_from<const N: usize>(alphabet: &[u8], text: &str) -> bool {
    text.len() == N && text.bytes().all(|c| alphabet.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::Counter;

    #[test]
    fn bytes_beyond_the_fair_range_are_thrown_away() {
        // 256 % 62 = 8: the bytes 248..=255 must not be used. Counting bytes visits each once.
        let drawn: [u8; 248] =
            characters(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", &mut Counter::new(248));
        for letter in drawn {
            assert_eq!(drawn.iter().filter(|&&c| c == letter).count(), 4);
        }
    }
}
