//! What the bus says, as far as a plug wants to know it.

use zbus::{Dict, Variant};

/// A text, or the path of an object.
pub(super) fn text<'a>(value: &'a Variant<'_>) -> Option<&'a str> {
    match value {
        Variant::Str(text) => Some(text.as_str()),
        Variant::ObjectPath(path) => Some(path.as_str()),
        _ => None,
    }
}

/// A number.
pub(super) const fn uint32(value: &Variant<'_>) -> Option<u32> {
    match value {
        Variant::U32(number) => Some(*number),
        _ => None,
    }
}

/// The elements of an array; of anything else, none.
pub(super) fn items<'a, 'v>(value: &'a Variant<'v>) -> &'a [Variant<'v>] {
    match value {
        Variant::Array(array) => array.inner(),
        _ => &[],
    }
}

/// The bytes of an array of bytes.
pub(super) fn bytes(value: &Variant<'_>) -> Option<Vec<u8>> {
    let byte = |item: &Variant<'_>| match item {
        Variant::U8(byte) => Some(*byte),
        _ => None,
    };
    items(value).iter().map(byte).collect()
}

/// What a dictionary says of this key, without the variant around it.
pub(super) fn key<'a, 'v>(dictionary: &'a Dict<'v, 'v>, name: &str) -> Option<&'a Variant<'v>> {
    let (_, value) = dictionary.iter().find(|(key, _)| text(key) == Some(name))?;
    match value {
        Variant::Variant(value) => Some(value),
        value => Some(value),
    }
}
