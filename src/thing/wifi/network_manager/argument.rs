//! What a call says, and the settings of a profile in it. A password among them is wiped; what `zbus` writes it
//! into is not (docs/adr/0016).

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::{Serialize, SerializeTupleStruct, Serializer};
use zbus::{DynamicType, ObjectPath, Signature, Type, as_variant};

use crate::proto::secret::SecretString;

/// What a call says, one after the other. One type for all calls: each type of a body makes the daemon larger.
#[derive(Debug, Default)]
pub(super) struct Arguments(pub(super) Vec<Argument>);

/// One thing that a call says.
#[derive(Debug)]
pub(super) enum Argument {
    /// `s`
    Name(&'static str),
    /// `o`
    Path(ObjectPath<'static>),
    /// `v`
    Value(Setting),
    /// `a{sv}`
    Settings(Settings),
    /// `a{sa{sv}}`
    Profile(Profile),
}

/// A profile: settings by name, and their keys.
pub(super) type Profile = BTreeMap<&'static str, Settings>;

impl DynamicType for Arguments {
    fn signature(&self) -> Signature {
        let one = |argument: &Argument| match argument {
            Argument::Name(_) => Signature::Str,
            Argument::Path(_) => Signature::ObjectPath,
            Argument::Value(_) => Signature::Variant,
            Argument::Settings(_) => Settings::SIGNATURE.clone(),
            Argument::Profile(_) => Profile::SIGNATURE.clone(),
        };
        if self.0.is_empty() {
            return Signature::Unit;
        }
        Signature::structure(self.0.iter().map(one).collect::<Vec<_>>())
    }
}

impl Serialize for Arguments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            return serializer.serialize_unit();
        }
        let mut all = serializer.serialize_tuple_struct("Arguments", self.0.len())?;
        for argument in &self.0 {
            match argument {
                Argument::Name(name) => all.serialize_field(name)?,
                Argument::Path(path) => all.serialize_field(path)?,
                Argument::Value(value) => all.serialize_field(value)?,
                Argument::Settings(settings) => all.serialize_field(settings)?,
                Argument::Profile(profile) => all.serialize_field(profile)?,
            }
        }
        all.end()
    }
}

/// Names alone.
impl<const N: usize> From<[&'static str; N]> for Arguments {
    fn from(names: [&'static str; N]) -> Self {
        Self(names.into_iter().map(Argument::Name).collect())
    }
}

/// Keys with what they say: `a{sv}`.
pub(super) type Settings = BTreeMap<&'static str, Setting>;

/// What a key says: `v`, with the type that the variant has.
#[derive(Clone, PartialEq)]
pub(super) enum Setting {
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
    /// `ay`
    Bytes(Vec<u8>),
    /// `as`
    Texts(Vec<String>),
    /// `aa{sv}`
    ManySettings(Vec<Settings>),
}

impl Type for Setting {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => as_variant::serialize(value, serializer),
            Self::Int32(value) => as_variant::serialize(value, serializer),
            Self::Uint32(value) => as_variant::serialize(value, serializer),
            Self::Text(value) => as_variant::serialize(value, serializer),
            Self::Secret(value) => as_variant::serialize(&value.expose(), serializer),
            Self::Bytes(value) => as_variant::serialize(value, serializer),
            Self::Texts(value) => as_variant::serialize(value, serializer),
            Self::ManySettings(value) => as_variant::serialize(value, serializer),
        }
    }
}

/// As text, for tests and the journal; a secret stays one.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int32(value) => value.fmt(f),
            Self::Uint32(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
            Self::Secret(value) => value.fmt(f),
            Self::Bytes(value) => write!(f, "b\"{}\"", value.escape_ascii()),
            Self::Texts(value) => value.fmt(f),
            Self::ManySettings(value) => value.fmt(f),
        }
    }
}

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
