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
    fn names_that_could_break_a_terminal_or_the_json_are_refused() {
        assert!("Küche".parse::<Name>().is_ok());
        assert_eq!("".parse::<Name>(), Err(NameError::Length));
        assert_eq!("x".repeat(33).parse::<Name>(), Err(NameError::Length));
        for text in ["a\u{1b}[31m", "a\"b", "a\\b", "a\nb", "a\u{85}b"] {
            assert_eq!(text.parse::<Name>(), Err(NameError::Character), "{text:?}");
        }
    }
}
