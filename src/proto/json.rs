//! Strict JSON: one object, no duplicate or unknown members, no floats, no null, four levels deep
//! (protocol section 2).
//!
//! A message passes [`check`] as a whole, then [`decode`] reads it into the type that its `t` names.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;

use serde::de::value::{CowStrDeserializer, MapAccessDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Levels of nesting at most; the object itself is the first.
pub const MAX_DEPTH: usize = 4;
/// The largest integer: what a double holds exactly.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;
/// Most messages are shorter.
const USUAL_BYTES: usize = 192;

/// Text that is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a valid message")]
pub struct JsonError;

/// A message's body: what stands beside `v` and `t`.
pub trait Body {
    /// The `t` that names it.
    const T: &'static str;
}

/// Writes `{"v":1,"t":...,` and the body's members.
///
/// # Panics
///
/// When `body` is no map with string keys, which no body in this crate is.
#[must_use]
pub fn encode<B: Body + Serialize>(body: &B) -> Vec<u8> {
    let mut text = Vec::with_capacity(USUAL_BYTES);
    write(body, &mut text);
    text
}

/// Writes the same into `room`, as much as fits, and gives the length of the whole.
///
/// # Panics
///
/// As [`encode`].
///
/// # Security
///
/// What a body holds stands nowhere but in `room`: a vector that grows leaves copies behind.
#[must_use]
pub fn encode_into<B: Body + Serialize>(body: &B, room: &mut [u8]) -> usize {
    let mut room = Room { room, bytes: 0 };
    write(body, &mut room);
    room.bytes
}

fn write<B: Body + Serialize>(body: &B, mut out: impl Write) {
    for part in [r#"{"v":1,"t":""#, B::T, r#"","#] {
        out.write_all(part.as_bytes()).expect("neither a vector nor a room refuses bytes");
    }
    serde_json::to_writer(WithoutBrace { out, brace: true }, body).expect("a body is a map with string keys");
}

/// Takes any number of bytes, keeps what fits and counts all.
struct Room<'a> {
    room: &'a mut [u8],
    bytes: usize,
}

impl Write for Room<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let free = self.room.get_mut(self.bytes..).unwrap_or_default();
        let fits = free.len().min(bytes.len());
        free[..fits].copy_from_slice(&bytes[..fits]);
        self.bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Swallows the body's own opening brace, its first byte.
struct WithoutBrace<W> {
    out: W,
    brace: bool,
}

impl<W: Write> Write for WithoutBrace<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.brace && !bytes.is_empty() {
            self.brace = false;
            return Ok(1);
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Checks the whole of `text` and gives its `t`.
///
/// # Errors
///
/// [`JsonError`] for anything but one strict object with `"v":1` and a `t`.
pub fn check(text: &[u8]) -> Result<Cow<'_, str>, JsonError> {
    let object = text.trim_ascii_end_spaces();
    if object.first() != Some(&b'{') || object.last() != Some(&b'}') {
        return Err(JsonError);
    }
    // Once for all strings in it.
    let object = str::from_utf8(object).map_err(|_| JsonError)?;
    let mut deserializer = serde_json::Deserializer::from_str(object);
    let t = deserializer.deserialize_map(Root).map_err(|_| JsonError)?;
    deserializer.end().map_err(|_| JsonError)?;
    Ok(t)
}

/// Reads the body of a text that passed [`check`].
///
/// # Errors
///
/// [`JsonError`] when `t` is another, a member is missing or unknown, or a value does not fit.
pub fn decode<'a, B: Body + Deserialize<'a>>(text: &'a [u8]) -> Result<B, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    deserializer.deserialize_map(BodyVisitor(PhantomData)).map_err(|_| JsonError)
}

/// Checks and reads in one go.
///
/// # Errors
///
/// As [`check`] and [`decode`].
pub fn read<'a, B: Body + Deserialize<'a>>(text: &'a [u8]) -> Result<B, JsonError> {
    if check(text)? == B::T { decode(text) } else { Err(JsonError) }
}

trait TrimSpaces {
    fn trim_ascii_end_spaces(&self) -> &Self;
}

impl TrimSpaces for [u8] {
    /// Only spaces pad; a line break after the object is an error.
    fn trim_ascii_end_spaces(&self) -> &Self {
        let end = self.iter().rposition(|&c| c != b' ').map_or(0, |last| last + 1);
        &self[..end]
    }
}

/// Visits the outermost object, finds `v` and `t` and checks the rest.
struct Root;

impl<'de> Visitor<'de> for Root {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = Keys::new();
        let (mut version, mut t) = (None, None);
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "v" => version = Some(map.next_value::<u64>()?),
                "t" => t = Some(map.next_value::<Text<'de>>()?.0),
                _ => map.next_value_seed(Strict { depth: 1 })?,
            }
            keys.insert(key)?;
        }
        if version != Some(1) {
            return Err(de::Error::custom("not version 1"));
        }
        t.ok_or_else(|| de::Error::missing_field("t"))
    }
}

/// Visits any value below the outermost object.
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: de::Error>(&self) -> Result<Self, E> {
        if self.depth < MAX_DEPTH { Ok(Self { depth: self.depth + 1 }) } else { Err(E::custom("too deep")) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Floats, negative numbers and null have no visitor here, so they are errors.
impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, array, string, boolean or integer from 0 to 2^53 - 1")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<(), E> {
        if number <= MAX_INTEGER { Ok(()) } else { Err(E::custom("integer too large")) }
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?.depth;
        while seq.next_element_seed(Strict { depth: inner })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?.depth;
        let mut keys = Keys::new();
        while let Some(Text(key)) = map.next_key()? {
            map.next_value_seed(Strict { depth: inner })?;
            keys.insert(key)?;
        }
        Ok(())
    }
}

/// The keys of one object, few enough to compare one by one.
struct Keys<'de> {
    keys: [Cow<'de, str>; Keys::MAX],
    count: usize,
}

impl Keys<'_> {
    /// No message here has an object with more members.
    const MAX: usize = 16;
}

impl<'de> Keys<'de> {
    const fn new() -> Self {
        Self { keys: [const { Cow::Borrowed("") }; Self::MAX], count: 0 }
    }

    fn insert<E: de::Error>(&mut self, key: Cow<'de, str>) -> Result<(), E> {
        if self.keys[..self.count].contains(&key) {
            return Err(E::custom("duplicate member"));
        }
        *self.keys.get_mut(self.count).ok_or_else(|| E::custom("too many members"))? = key;
        self.count += 1;
        Ok(())
    }
}

/// A string, borrowed where it holds no escapes.
struct Text<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Visits the outermost object again and hands all but `v` and `t` to the body.
struct BodyVisitor<B>(PhantomData<B>);

impl<'de, B: Body + Deserialize<'de>> Visitor<'de> for BodyVisitor<B> {
    type Value = B;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message {}", B::T)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<B, A::Error> {
        B::deserialize(MapAccessDeserializer::new(WithoutHead(map)))
    }
}

struct WithoutHead<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithoutHead<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(Text(key)) = self.0.next_key()? {
            if key == "v" || key == "t" {
                self.0.next_value::<IgnoredAny>()?;
            } else {
                return seed.deserialize(CowStrDeserializer::new(key)).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        on: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<u64>,
    }

    impl Body for Example {
        const T: &'static str = "example";
    }

    #[test]
    fn a_body_reads_back_what_it_writes() {
        let example = Example { on: true, at: None };
        let text = encode(&example);
        assert_eq!(text, br#"{"v":1,"t":"example","on":true}"#);
        assert_eq!(read(&text), Ok(example));
    }

    #[test]
    fn members_stand_in_any_order_and_spaces_follow() {
        let text = br#"{ "at" : 9007199254740991, "t":"example","on":false, "v":1 }    "#;
        assert_eq!(read(text), Ok(Example { on: false, at: Some(MAX_INTEGER) }));
    }

    #[test]
    fn a_room_takes_what_fits_and_tells_what_it_would_take() {
        let body = Example { on: true, at: Some(7) };
        let text = encode(&body);
        assert_eq!(text, br#"{"v":1,"t":"example","on":true,"at":7}"#);
        for room in 0..text.len() + 3 {
            let mut room = vec![b' '; room];
            assert_eq!(encode_into(&body, &mut room), text.len());
            let fits = room.len().min(text.len());
            assert_eq!(room[..fits], text[..fits]);
            assert!(room[fits..].iter().all(|&byte| byte == b' '));
        }
    }

    #[test]
    fn anything_but_the_strict_form_is_refused() {
        for text in [
            "",
            " ",
            "{}",
            "[]",
            r#" {"v":1,"t":"example","on":true}"#,
            r#"{"v":1,"t":"example","on":true}x"#,
            "{\"v\":1,\"t\":\"example\",\"on\":true}\n",
            r#"{"v":1,"t":"example","on":true}{}"#,
            r#"{"v":2,"t":"example","on":true}"#,
            r#"{"v":1.0,"t":"example","on":true}"#,
            r#"{"t":"example","on":true}"#,
            r#"{"v":1,"on":true}"#,
            r#"{"v":1,"t":"other","on":true}"#,
            r#"{"v":1,"t":"example"}"#,
            r#"{"v":1,"t":"example","on":true,"on":true}"#,
            r#"{"v":1,"t":"example","on":true,"o\u006e":true}"#,
            r#"{"v":1,"t":"example","t":"example","on":true}"#,
            r#"{"v":1,"t":"example","on":true,"more":1}"#,
            r#"{"v":1,"t":"example","on":1}"#,
            r#"{"v":1,"t":"example","on":true,"at":null}"#,
            r#"{"v":1,"t":"example","on":true,"at":1.5}"#,
            r#"{"v":1,"t":"example","on":true,"at":1e2}"#,
            r#"{"v":1,"t":"example","on":true,"at":-1}"#,
            r#"{"v":1,"t":"example","on":true,"at":9007199254740992}"#,
            r#"{"v":1,"t":"example","on":true,"at":18446744073709551616}"#,
            r#"{"v":1,"t":"example","on":true,}"#,
        ] {
            assert_eq!(read::<Example>(text.as_bytes()), Err(JsonError), "{text}");
        }
        assert_eq!(read::<Example>(b"{\"v\":1,\"t\":\"example\",\"on\":true,\"x\":\"\xff\"}"), Err(JsonError));
    }

    #[test]
    fn the_fifth_level_is_too_deep() {
        assert!(check(br#"{"v":1,"t":"x","a":{"b":{"c":{}}}}"#).is_ok());
        assert!(check(br#"{"v":1,"t":"x","a":{"b":{"c":[]}}}"#).is_ok());
        assert_eq!(check(br#"{"v":1,"t":"x","a":{"b":{"c":{"d":{}}}}}"#), Err(JsonError));
        assert_eq!(check(br#"{"v":1,"t":"x","a":[[[[]]]]}"#), Err(JsonError));
        let deep = format!(r#"{{"v":1,"t":"x","a":{}{}}}"#, "[".repeat(900), "]".repeat(900));
        assert_eq!(check(deep.as_bytes()), Err(JsonError));
    }

    #[test]
    fn an_object_has_16_members_at_most() {
        let object = |members: u32| {
            let members: Vec<_> = (0..members).map(|n| format!("\"{n}\":1")).collect();
            format!(r#"{{"v":1,"t":"x","a":{{{}}}}}"#, members.join(","))
        };
        assert!(check(object(16).as_bytes()).is_ok());
        assert_eq!(check(object(17).as_bytes()), Err(JsonError));
    }

    #[test]
    fn duplicates_are_seen_at_every_level() {
        assert_eq!(check(br#"{"v":1,"t":"x","a":{"b":1,"b":1}}"#), Err(JsonError));
        assert!(check(br#"{"v":1,"t":"x","a":{"b":1},"c":{"b":1}}"#).is_ok());
    }
}
