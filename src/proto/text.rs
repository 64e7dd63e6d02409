//! Values that travel as text, read where the text stands.
//!
//! `String` and `Cow<str>` would copy it first: for a secret a copy that nobody wipes, for everything
//! else an allocation. Only text with escapes is copied, by serde_json, into a scratch of its own.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};

/// Reads what has a text form.
pub(crate) fn parse<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    read(deserializer, str::parse)
}

/// Reads what `read` makes of the text.
pub(crate) fn read<'de, T, E, D>(deserializer: D, read: impl FnOnce(&str) -> Result<T, E>) -> Result<T, D::Error>
where
    E: fmt::Display,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(InPlace(read))
}

struct InPlace<F>(F);

impl<T, E: fmt::Display, F: FnOnce(&str) -> Result<T, E>> Visitor<'_> for InPlace<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<Error: de::Error>(self, text: &str) -> Result<T, Error> {
        (self.0)(text).map_err(Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use crate::proto::credential::{CtlrPassword, CtlrUser};
    use crate::proto::id::{Cid, RequestId, ThingId};
    use crate::proto::pairing::message::Der;
    use crate::proto::testing::TextInPlace;
    use crate::proto::topic::TToken;
    use crate::proto::user::Name;
    use crate::proto::wifi::{Ssid, WifiPsk};

    fn reads<T: Deserialize<'static>>(text: &'static str) {
        T::deserialize(TextInPlace(text)).map(|_| ()).unwrap_or_else(|error| panic!("{text}: {error}"));
    }

    #[test]
    fn no_secret_and_no_identifier_asks_for_a_copy_of_its_text() {
        reads::<WifiPsk>("correct horse");
        reads::<CtlrUser>("abcdefghijklmnop");
        reads::<CtlrPassword>("0123456789ABCDEFGHIJKLMNO");
        reads::<TToken>("0123456789ABCDEFGHIJKLMNO");
        reads::<Cid>("AAECAwQFBgc");
        reads::<RequestId>("AAAAAAAAAAAAAAAAAAAAAA");
        reads::<ThingId>("0123456789abcdef");
        reads::<Name>("Ada");
        reads::<Ssid>("aG9tZQ");
        reads::<Der>("AQID");
    }

    #[test]
    fn text_with_escapes_is_read_too() {
        let psk: WifiPsk = serde_json::from_str(r#""correct \"horse\"""#).expect("valid");
        assert_eq!(psk.expose(), "correct \"horse\"");
        assert!(serde_json::from_str::<WifiPsk>("12345678").is_err(), "a number is no text");
    }
}
