//! The one-time passcode on the display: who reads it is the owner (SecT STEP 1, 2).

use std::fmt;
use std::str::FromStr;

use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::draw;

/// Crockford's base32 digits: none that a reader takes for another.
pub(super) const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The passcode P: 16 characters, 80 bits, fresh for each access point window.
///
/// It is the WPA2 passphrase of the Thing-AP, the root of the `pair` PSK and a salt of the pairing keys.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Passcode([u8; Self::CHARACTERS]);

/// What was typed is no passcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PasscodeError {
    /// Too many or too few characters, spaces and dashes not counted.
    #[error("a passcode has 16 letters and digits, this has {0}")]
    Length(usize),
    /// A character that no display shows.
    #[error("a passcode has no '{0}'")]
    Character(char),
}

impl Passcode {
    /// Characters in it.
    pub const CHARACTERS: usize = 16;

    /// Draws a fresh one.
    #[must_use]
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self(draw::characters(ALPHABET, rng))
    }

    /// Its 16 characters: the WPA2 passphrase.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).expect("drawn from ASCII letters and digits")
    }
}

impl fmt::Debug for Passcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passcode(..)")
    }
}

/// Reads what a person typed: case, spaces and dashes do not matter, `O` is `0`, `I` and `L` are `1`
/// (protocol section 2).
impl FromStr for Passcode {
    type Err = PasscodeError;

    fn from_str(typed: &str) -> Result<Self, PasscodeError> {
        let mut code = [0; Self::CHARACTERS];
        let mut count = 0;
        for character in typed.trim().chars().filter(|c| !matches!(c, ' ' | '-')) {
            let read = match character.to_ascii_uppercase() {
                'O' => b'0',
                'I' | 'L' => b'1',
                other => u8::try_from(other)
                    .ok()
                    .filter(|c| ALPHABET.contains(c))
                    .ok_or(PasscodeError::Character(character))?,
            };
            if let Some(place) = code.get_mut(count) {
                *place = read;
            }
            count += 1;
        }
        if count == Self::CHARACTERS { Ok(Self(code)) } else { Err(PasscodeError::Length(count)) }
    }
}

/// The name of the access point that a passcode opens: `SecT-` and 4 random characters.
#[must_use]
pub fn access_point_ssid(rng: &mut dyn CryptoRng) -> String {
    let suffix: [u8; 4] = draw::characters(ALPHABET, rng);
    format!("SecT-{}", std::str::from_utf8(&suffix).expect("drawn from ASCII letters and digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passcode_is_read_as_a_person_types_it() {
        let code: Passcode = "7K3QX9M2B4TVHC8D".parse().expect("valid");
        for typed in ["7k3qx9m2b4tvhc8d", "7K3Q X9M2 B4TV HC8D", "7K3Q-X9M2-B4TV-HC8D\n"] {
            assert_eq!(typed.parse::<Passcode>().as_ref(), Ok(&code), "{typed:?}");
        }
        let ones: Passcode = "1111000011110000".parse().expect("valid");
        assert_eq!("ilILoOoO1l1i0000".parse(), Ok(ones));
    }

    #[test]
    fn what_is_no_passcode_is_refused_with_its_reason() {
        assert_eq!("7K3QX9M2B4TVHC8".parse::<Passcode>(), Err(PasscodeError::Length(15)));
        assert_eq!("7K3QX9M2B4TVHC8D0".parse::<Passcode>(), Err(PasscodeError::Length(17)));
        assert_eq!("7K3QX9M2B4TVHC8U".parse::<Passcode>(), Err(PasscodeError::Character('U')));
        assert_eq!("7K3QX9M2B4TVHC8é".parse::<Passcode>(), Err(PasscodeError::Character('é')));
    }
}
