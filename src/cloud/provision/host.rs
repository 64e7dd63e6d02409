//! Where a server is reached: a name or an address that its certificate is for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// A DNS name in lower case, or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name: letters, digits and hyphens (RFC 1123 section 2.1).
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Text that is neither a DNS name nor an IP address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no host name and no IP address; wildcards are not taken")]
pub struct BadHost(String);

/// Characters of a name (RFC 1035 section 2.3.4, without the closing dot).
const NAME_CHARACTERS: usize = 253;
/// Characters of one part of it.
const LABEL_CHARACTERS: usize = 63;

impl FromStr for Host {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let name = text.to_ascii_lowercase();
        let label = |label: &str| {
            (1..=LABEL_CHARACTERS).contains(&label.len())
                && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last part of digits alone would be a mistyped address (RFC 3696 section 2).
        let number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|c| c.is_ascii_digit()));
        if name.len() <= NAME_CHARACTERS && name.split('.').all(label) && !number {
            Ok(Self::Name(name))
        } else {
            Err(BadHost(text.chars().take(NAME_CHARACTERS).collect()))
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.pad(name),
            Self::Address(address) => fmt::Display::fmt(address, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        assert_eq!("Cloud.Example.org".parse(), Ok(Host::Name("cloud.example.org".to_owned())));
        assert_eq!("localhost".parse(), Ok(Host::Name("localhost".to_owned())));
        assert_eq!("127.0.0.1".parse(), Ok(Host::Address([127, 0, 0, 1].into())));
        assert_eq!("::1".parse::<Host>().map(|host| host.to_string()), Ok("::1".to_owned()));
    }

    #[test]
    fn what_is_neither_is_refused() {
        let long = "a".repeat(64);
        for text in ["", ".", "a..b", "a.", "-a", "a-", "a b", "*.example.org", "a_b", "256.1.1.1", "ä.org", &long] {
            assert!(text.parse::<Host>().is_err(), "{text:?}");
        }
    }
}
