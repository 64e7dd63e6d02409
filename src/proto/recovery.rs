//! The recovery code: what an owner keeps on paper for the day on which all controllers are lost
//! (protocol section 9).
//!
//! 16 random bytes, drawn by the controller and shown once. The thing knows the public half of a key that
//! they stand for, and only there; so a stolen thing gives no code away.
//!
//! On paper it is 28 characters of the passcode's alphabet: 26 for the bytes, and two that a Reed-Solomon
//! code over GF(32) puts after them. Any one or two characters that were misread, and any two that changed
//! places, are noticed; anything else is, but for one in 1024.

use std::fmt;
use std::str::FromStr;

use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use super::id::ThingId;
use super::keys;
use super::passcode::ALPHABET;
use super::secret::{Secret, SecretString};
use super::signature::SigningKey;

/// A recovery code.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryCode(Secret<16>);

/// What was typed is no recovery code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecoveryCodeError {
    /// Too many or too few characters, spaces and dashes not counted.
    #[error("a recovery code has 28 letters and digits, this has {0}")]
    Length(usize),
    /// A character that no recovery code has.
    #[error("a recovery code has no '{0}'")]
    Character(char),
    /// A character is another one than on the paper.
    #[error("this is not quite what is on the paper: compare it group by group")]
    Check,
}

/// Characters for the bytes: 26 times 5 bits hold 128 bits, and two that are zero.
const DATA: usize = 26;
/// Characters that notice mistakes.
const CHECK: usize = 2;
/// Characters in a group.
const GROUP: usize = 4;

impl RecoveryCode {
    /// Characters in it, dashes not counted.
    pub const CHARACTERS: usize = DATA + CHECK;

    /// Draws a fresh one.
    #[must_use]
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self(Secret::random(rng))
    }

    /// The key that it stands for at one thing.
    #[must_use]
    pub fn key(&self, thing: &ThingId) -> SigningKey {
        keys::recovery_key(&self.0, thing)
    }

    /// Its form for paper: 7 groups of 4 characters with dashes between them.
    #[must_use]
    pub fn to_paper(&self) -> SecretString {
        let mut text = String::with_capacity(Self::CHARACTERS / GROUP * (GROUP + 1));
        let data = self.digits();
        for (place, digit) in data.iter().copied().chain(check(&*data)).enumerate() {
            if place > 0 && place % GROUP == 0 {
                text.push('-');
            }
            text.push(char::from(ALPHABET[usize::from(digit)]));
        }
        SecretString::new(text)
    }

    /// The bytes, 5 bits a digit, the first bit first.
    fn digits(&self) -> Zeroizing<[u8; DATA]> {
        let bit = |place: usize| self.0.expose().get(place / 8).map_or(0, |byte| byte >> (7 - place % 8) & 1);
        let digit = |digit| (0..5).fold(0, |value, place| value << 1 | bit(digit * 5 + place));
        Zeroizing::new(std::array::from_fn(digit))
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode(..)")
    }
}

/// Reads what a person typed: case, spaces and dashes do not matter, `O` is `0`, `I` and `L` are `1`
/// (protocol section 2.4).
impl FromStr for RecoveryCode {
    type Err = RecoveryCodeError;

    fn from_str(typed: &str) -> Result<Self, RecoveryCodeError> {
        let (mut digits, mut count) = (Zeroizing::new([0; Self::CHARACTERS]), 0);
        for c in typed.chars().filter(|c| !matches!(c, ' ' | '-')) {
            let read = match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let digit = ALPHABET.iter().position(|&known| char::from(known) == read);
            let digit = digit.ok_or(RecoveryCodeError::Character(c))?;
            if let Some(place) = digits.get_mut(count) {
                *place = u8::try_from(digit).expect("32 letters and digits");
            }
            count += 1;
        }
        if count != Self::CHARACTERS {
            return Err(RecoveryCodeError::Length(count));
        }
        let (data, given) = digits.split_at(DATA);
        // The last character for the bytes has two bits to spare.
        if check(data) != *given || data[DATA - 1] & 0b11 != 0 {
            return Err(RecoveryCodeError::Check);
        }
        let mut bytes = Secret::new([0; 16]);
        let bit = |place: usize| data[place / 5] >> (4 - place % 5) & 1;
        for (at, byte) in bytes.expose_mut().iter_mut().enumerate() {
            *byte = (0..8).fold(0, |value, place| value << 1 | bit(at * 8 + place));
        }
        Ok(Self(bytes))
    }
}

/// The remainder of the digits, as a polynomial over GF(32), by (x - 2)(x - 4) = x^2 + 6 x + 8: a
/// Reed-Solomon code of distance 3, whose words have up to 31 digits.
fn check(data: &[u8]) -> [u8; CHECK] {
    data.iter().fold([0, 0], |[high, low], &digit| {
        let carry = digit ^ high;
        [low ^ times(carry, 6), times(carry, 8)]
    })
}

/// The product in GF(32) with x^5 + x^2 + 1, in which 2 generates all that is not zero.
fn times(a: u8, b: u8) -> u8 {
    (0..5).rev().fold(0, |product, bit| {
        let doubled = product << 1;
        let reduced = if doubled & 0b10_0000 == 0 { doubled } else { doubled ^ 0b10_0101 };
        if b >> bit & 1 == 1 { reduced ^ a } else { reduced }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::Counter;

    fn code() -> RecoveryCode {
        RecoveryCode::random(&mut Counter::new(5))
    }

    fn characters(code: &RecoveryCode) -> Vec<u8> {
        code.to_paper().expose().bytes().filter(|c| *c != b'-').collect()
    }

    fn read(characters: &[u8]) -> Result<RecoveryCode, RecoveryCodeError> {
        std::str::from_utf8(characters).expect("ASCII").parse()
    }

    #[test]
    fn the_paper_gives_the_code_back_however_it_is_copied() {
        for seed in 0..200 {
            let code = RecoveryCode::random(&mut Counter::new(seed));
            let paper = code.to_paper();
            assert_eq!(paper.expose().len(), 34, "7 groups and 6 dashes");
            assert_eq!(paper.expose().parse(), Ok(code.clone()));
            let careless = paper.expose().to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
            assert_eq!(careless.parse(), Ok(code));
        }
    }

    #[test]
    fn the_example_of_the_protocol_has_its_paper_form() {
        let bytes: [u8; 16] = std::array::from_fn(|at| 0x64 + u8::try_from(at).expect("small"));
        assert_eq!(RecoveryCode(Secret::new(bytes)).to_paper().expose(), "CHJP-CSV8-D5N6-PV3D-DSQQ-0WBJ-ECXQ");
    }

    #[test]
    fn any_one_and_any_two_misread_characters_are_noticed() {
        let paper = characters(&code());
        for first in 0..paper.len() {
            for one in ALPHABET.iter().filter(|one| **one != paper[first]) {
                let mut wrong = paper.clone();
                wrong[first] = *one;
                assert_eq!(read(&wrong), Err(RecoveryCodeError::Check), "place {first}");
                for second in first + 1..paper.len() {
                    for two in ALPHABET.iter().filter(|two| **two != paper[second]) {
                        let mut wrong = wrong.clone();
                        wrong[second] = *two;
                        assert_eq!(read(&wrong), Err(RecoveryCodeError::Check), "places {first} and {second}");
                    }
                }
            }
        }
    }

    #[test]
    fn characters_and_groups_that_changed_places_are_noticed() {
        let paper = characters(&code());
        for first in 0..paper.len() {
            for second in first + 1..paper.len() {
                let mut wrong = paper.clone();
                wrong.swap(first, second);
                assert_eq!(read(&wrong).is_err(), paper[first] != paper[second], "places {first} and {second}");
            }
        }
        for first in 0..7 {
            for second in first + 1..7 {
                let mut groups: Vec<_> = paper.chunks(GROUP).collect();
                groups.swap(first, second);
                assert!(read(&groups.concat()).is_err(), "groups {first} and {second}");
            }
        }
    }

    #[test]
    fn what_is_no_code_is_told_why() {
        let paper = characters(&code());
        assert_eq!(read(&paper[1..]), Err(RecoveryCodeError::Length(27)));
        assert_eq!(read(&[&paper[..], b"0"].concat()), Err(RecoveryCodeError::Length(29)));
        assert_eq!("".parse::<RecoveryCode>(), Err(RecoveryCodeError::Length(0)));
        assert_eq!("U".parse::<RecoveryCode>(), Err(RecoveryCodeError::Character('U')));
        assert_eq!(format!("{:?}", code()), "RecoveryCode(..)");
    }

    /// Every word of the code is a multiple of what generates it, whatever the way it was computed.
    #[test]
    fn both_roots_of_the_generator_are_roots_of_every_word() {
        let (data, root) = (code().digits(), |at: u8, word: &[u8]| word.iter().fold(0, |sum, c| times(sum, at) ^ c));
        let word: Vec<u8> = data.iter().copied().chain(check(&*data)).collect();
        assert_eq!((root(2, &word), root(4, &word)), (0, 0));
        let powers: std::collections::BTreeSet<u8> =
            (0..31).scan(1, |power, _| Some(std::mem::replace(power, times(*power, 2)))).collect();
        assert_eq!(powers.len(), 31, "2 generates the field");
    }
}
