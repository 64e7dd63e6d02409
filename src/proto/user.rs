//! Who a controller belongs to and what its role allows (protocol section 9).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::text;

/// What a controller may do; each role may do all that the roles below it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Status and events.
    Viewer,
    /// Switch and timers too.
    Operator,
    /// Schedules and history too.
    Supervisor,
    /// Everything.
    Owner,
}

impl Role {
    /// The word of the wire and of the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Supervisor => "supervisor",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        [Self::Viewer, Self::Operator, Self::Supervisor, Self::Owner]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(NameError::UnknownRole)
    }
}

/// A person's or a thing's name: 1 to 32 bytes of UTF-8 without control characters, `"` or `\`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// Text that is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing, or more than 32 bytes.
    #[error("a name has 1 to 32 bytes")]
    Length,
    /// A control character, `"` or `\`.
    #[error("a name has no control characters, quotes or backslashes")]
    Character,
    /// Something that is not seen.
    #[error("a name has no invisible characters, and no spaces but single ones between words")]
    Unseen,
    /// None of owner, supervisor, operator, viewer.
    #[error("a role is one of owner, supervisor, operator, viewer")]
    UnknownRole,
}

impl Name {
    /// Bytes at most.
    pub const MAX_BYTES: usize = 32;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a person can read all of it: no characters that are not seen or turn the line round, no white space
    /// but single spaces between words. A name from before this was asked may have some; a new one may not.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let spaced = !self.0.starts_with(' ') && !self.0.ends_with(' ') && !self.0.contains("  ");
        spaced && !self.0.chars().any(is_unseen)
    }

    /// Whether a person takes both for one name: case does not tell them apart. (Letters of two alphabets that
    /// look alike do.)
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.0.to_lowercase() == other.0.to_lowercase()
    }
}

/// A name that somebody gives now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewName(pub Name);

impl FromStr for NewName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name: Name = text.parse()?;
        if name.is_readable() { Ok(Self(name)) } else { Err(NameError::Unseen) }
    }
}

/// What takes no room, looks like a space, or changes how what stands beside it is shown (Unicode 16:
/// Default_Ignorable_Code_Point, Bidi_Control, White_Space; the private and the surrogate planes show nothing
/// that two people agree on).
const fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{1680}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
        | '\u{2800}' | '\u{3000}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{10ffff}')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > Self::MAX_BYTES {
            return Err(NameError::Length);
        }
        if text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')) {
            return Err(NameError::Character);
        }
        Ok(Self(text.into()))
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_rise_from_viewer_to_owner() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Supervisor && Role::Supervisor < Role::Owner);
    }

    #[test]
    fn names_that_look_like_another_are_not_readable() {
        let name = |text: &str| text.parse::<Name>().expect("a name of earlier versions");
        for text in ["Ana", "Ana's phone", "Küche", "Ana 2", "美咲", "Ελένη", "Ana-Lena"] {
            assert!(name(text).is_readable(), "{text:?}");
        }
        for text in [
            " ",
            " Ana",
            "Ana ",
            "Ana  2",
            "An\u{200b}a",
            "Ana\u{200d}",
            "\u{feff}Ana",
            "A\u{ad}na",
            "\u{202e}anA",
            "Ana\u{a0}2",
            "Ana\u{2003}2",
            "\u{3164}",
            "\u{2800}",
            "Ana\u{fe0f}",
            "Ana\u{e0041}",
        ] {
            assert!(!name(text).is_readable(), "{text:?}");
        }
        assert!(name("Ana").is_like(&name("aNA")) && name("KÜCHE").is_like(&name("küche")));
        assert!(!name("Ana").is_like(&name("Anna")));
    }

    #[test]
    fn names_that_could_break_a_terminal_or_the_json_are_refused() {
        assert!("Küche".parse::<Name>().is_ok());
        assert_eq!("".parse::<Name>(), Err(NameError::Length));
        assert_eq!("x".repeat(33).parse::<Name>(), Err(NameError::Length));
        for text in ["a\u{1b}[31m", "a\"b", "a\\b", "a\nb", "a\u{85}b"] {
            assert_eq!(text.parse::<Name>(), Err(NameError::Character), "{text:?}");
        }
    }
}
