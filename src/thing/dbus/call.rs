//! Calls as bytes (D-Bus specification, "Marshaling"); a password among them leaves no copy behind.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::wire::{
    FIELD_DESTINATION, FIELD_INTERFACE, FIELD_MEMBER, FIELD_PATH, FIELD_SIGNATURE, LITTLE_ENDIAN, METHOD_CALL, VERSION,
};
use crate::proto::secret::SecretString;

/// What a call says: values with their types.
#[derive(Clone, PartialEq)]
pub enum Argument {
    /// `b`
    Bool(bool),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `s`
    Text(String),
    /// `s`, which is wiped.
    Secret(SecretString),
    /// `o`
    Path(String),
    /// `ay`
    Bytes(Vec<u8>),
    /// `as`
    Texts(Vec<String>),
    /// `v`
    Variant(Box<Argument>),
    /// `a{sv}`
    Settings(Settings),
    /// `aa{sv}`
    ManySettings(Vec<Settings>),
    /// `a{sa{sv}}`
    Profile(BTreeMap<&'static str, Settings>),
}

/// Keys with what they say.
pub type Settings = BTreeMap<&'static str, Argument>;

/// What is called.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// At whose.
    pub destination: &'a str,
    /// Which object.
    pub path: &'a str,
    /// In the words of which interface.
    pub interface: &'a str,
    /// What it shall do.
    pub member: &'a str,
}

impl Argument {
    pub(super) fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::Int32(_) => "i",
            Self::Uint32(_) => "u",
            Self::Text(_) | Self::Secret(_) => "s",
            Self::Path(_) => "o",
            Self::Bytes(_) => "ay",
            Self::Texts(_) => "as",
            Self::Variant(_) => "v",
            Self::Settings(_) => "a{sv}",
            Self::ManySettings(_) => "aa{sv}",
            Self::Profile(_) => "a{sa{sv}}",
        }
    }
}

/// As text, for tests and the journal; a secret stays one.
impl fmt::Debug for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int32(value) => value.fmt(f),
            Self::Uint32(value) => value.fmt(f),
            Self::Text(value) | Self::Path(value) => value.fmt(f),
            Self::Secret(value) => value.fmt(f),
            Self::Bytes(value) => write!(f, "b\"{}\"", value.escape_ascii()),
            Self::Texts(value) => value.fmt(f),
            Self::Variant(value) => value.fmt(f),
            Self::Settings(value) => value.fmt(f),
            Self::ManySettings(value) => value.fmt(f),
            Self::Profile(value) => value.fmt(f),
        }
    }
}

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Call<'_> {
    /// The message that makes the call; wiped, because it may carry a secret.
    #[must_use]
    pub fn to_bytes(&self, serial: u32, arguments: &[Argument]) -> Zeroizing<Vec<u8>> {
        let mut body = Writer::default();
        arguments.iter().for_each(|argument| body.argument(argument));
        let mut message = Writer::default();
        message.bytes(&[LITTLE_ENDIAN, METHOD_CALL, 0, VERSION]);
        message.uint32(length(body.0.len()));
        message.uint32(serial);
        message.array(8, |fields| {
            for (field, kind, text) in [
                (FIELD_PATH, "o", self.path),
                (FIELD_INTERFACE, "s", self.interface),
                (FIELD_MEMBER, "s", self.member),
                (FIELD_DESTINATION, "s", self.destination),
            ] {
                fields.align(8);
                fields.bytes(&[field]);
                fields.signature(kind);
                fields.text(text);
            }
            let signature: String = arguments.iter().map(Argument::signature).collect();
            fields.align(8);
            fields.bytes(&[FIELD_SIGNATURE]);
            fields.signature("g");
            fields.signature(&signature);
        });
        message.align(8);
        message.bytes(&body.0);
        message.0
    }
}

/// What is written here has a size that fits: passwords, names and a handful of keys.
pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("what a plug says is far below 4 GB")
}

/// Bytes of a message, from a place on that is aligned to 8.
#[derive(Default)]
pub(super) struct Writer(pub(super) Zeroizing<Vec<u8>>);

impl Writer {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        // A vector that grows by itself leaves what it held behind, unwiped.
        if self.0.capacity() - self.0.len() < bytes.len() {
            let mut larger = Zeroizing::new(Vec::with_capacity((self.0.len() + bytes.len()) * 2));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn align(&mut self, to: usize) {
        let missing = self.0.len().next_multiple_of(to) - self.0.len();
        self.bytes(&[0; 8][..missing]);
    }

    pub(super) fn uint32(&mut self, value: u32) {
        self.align(4);
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.uint32(length(text.len()));
        self.bytes(text.as_bytes());
        self.bytes(&[0]);
    }

    pub(super) fn signature(&mut self, signature: &str) {
        self.bytes(&[u8::try_from(signature.len()).expect("a call has a handful of arguments")]);
        self.bytes(signature.as_bytes());
        self.bytes(&[0]);
    }

    /// An array whose elements are aligned to `element`: its length does not count the padding before them.
    pub(super) fn array(&mut self, element: usize, write: impl FnOnce(&mut Self)) {
        self.uint32(0);
        let at = self.0.len() - 4;
        self.align(element);
        let begin = self.0.len();
        write(self);
        let long = length(self.0.len() - begin);
        self.0[at..at + 4].copy_from_slice(&long.to_le_bytes());
    }

    fn settings(&mut self, settings: &Settings) {
        self.array(8, |entries| {
            for (key, value) in settings {
                entries.align(8);
                entries.text(key);
                entries.variant(value);
            }
        });
    }

    fn variant(&mut self, value: &Argument) {
        self.signature(value.signature());
        self.argument(value);
    }

    pub(super) fn argument(&mut self, argument: &Argument) {
        match argument {
            Argument::Bool(value) => self.uint32((*value).into()),
            Argument::Int32(value) => self.uint32(value.cast_unsigned()),
            Argument::Uint32(value) => self.uint32(*value),
            Argument::Text(text) | Argument::Path(text) => self.text(text),
            Argument::Secret(text) => self.text(text.expose()),
            Argument::Bytes(bytes) => self.array(1, |elements| elements.bytes(bytes)),
            Argument::Texts(texts) => self.array(4, |elements| texts.iter().for_each(|text| elements.text(text))),
            Argument::Variant(value) => self.variant(value),
            Argument::Settings(settings) => self.settings(settings),
            Argument::ManySettings(many) => {
                self.array(4, |elements| many.iter().for_each(|one| elements.settings(one)))
            }
            Argument::Profile(profile) => self.array(8, |entries| {
                for (key, settings) in profile {
                    entries.align(8);
                    entries.text(key);
                    entries.settings(settings);
                }
            }),
        }
    }
}
