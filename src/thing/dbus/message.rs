//! Messages of the bus, read (D-Bus specification, "Marshaling").

use super::wire::{
    ERROR, FIELD_ERROR, FIELD_INTERFACE, FIELD_MEMBER, FIELD_PATH, FIELD_REPLY_SERIAL, FIELD_SENDER, FIELD_SIGNATURE,
    LITTLE_ENDIAN, METHOD_RETURN, SIGNAL, VERSION,
};

/// Bytes of a message at most; the largest one that a plug asks for is a list of a few dozen object paths.
pub(super) const MAX_MESSAGE: usize = 256 * 1024;
/// Bytes of a message that say how long it is.
pub(super) const FIXED: usize = 16;
/// How deep values may lie in one another.
const MAX_DEPTH: usize = 16;

/// A value in a message from the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `u`
    Uint32(u32),
    /// `s`
    Text(String),
    /// `o`
    Path(String),
    /// An array, also of bytes.
    Array(Vec<Value>),
    /// A struct, or an entry of a dictionary.
    Tuple(Vec<Value>),
    /// `v`: what is in it.
    Variant(Box<Value>),
    /// Of a type that nobody here asks for; not kept.
    Other,
}

/// A message from the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Who sent it, by the name that the bus gave him.
    pub sender: String,
    /// What it says.
    pub body: Vec<Value>,
}

/// What a message from the bus is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The answer to the call with this serial.
    Return {
        /// The call's.
        to: u32,
    },
    /// The call with this serial failed.
    Error {
        /// The call's.
        to: u32,
        /// Why, as in `org.freedesktop.DBus.Error.AccessDenied`.
        name: String,
    },
    /// Something happened.
    Signal {
        /// To which object.
        path: String,
        /// In the words of which interface.
        interface: String,
        /// What.
        member: String,
    },
    /// Something that a plug does not answer.
    Other,
}

/// What came is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no D-Bus message")]
pub struct Malformed;

impl Message {
    /// How many bytes a message has, from its first 16.
    ///
    /// # Errors
    ///
    /// [`Malformed`], also when it is longer than a message may be.
    pub fn length(fixed: [u8; FIXED]) -> Result<usize, Malformed> {
        if fixed[0] != LITTLE_ENDIAN || fixed[3] != VERSION {
            return Err(Malformed);
        }
        let number = |at: usize| {
            let bytes = [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
            usize::try_from(u32::from_le_bytes(bytes)).ok().filter(|number| *number <= MAX_MESSAGE).ok_or(Malformed)
        };
        let (body, fields) = (number(4)?, number(12)?);
        let all = (FIXED + fields).next_multiple_of(8) + body;
        if all <= MAX_MESSAGE { Ok(all) } else { Err(Malformed) }
    }

    /// Reads a whole message.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let fixed: [u8; FIXED] = bytes.first_chunk().copied().ok_or(Malformed)?;
        if Self::length(fixed)? != bytes.len() {
            return Err(Malformed);
        }
        let mut reader = Reader { bytes, at: 12 };
        let mut fields = Fields::default();
        for field in reader.values("a(yv)", 0)?.into_iter().flat_map(Value::into_items) {
            fields.take(field)?;
        }
        reader.align(8)?;
        let body = reader.values(&fields.signature, 0)?;
        if reader.at != bytes.len() {
            return Err(Malformed);
        }
        let kind = match fixed[1] {
            METHOD_RETURN => Kind::Return { to: fields.reply_serial },
            ERROR => Kind::Error { to: fields.reply_serial, name: fields.error },
            SIGNAL => Kind::Signal { path: fields.path, interface: fields.interface, member: fields.member },
            _ => Kind::Other,
        };
        Ok(Self { kind, sender: fields.sender, body })
    }
}

/// The fields of a header.
#[derive(Default)]
struct Fields {
    path: String,
    interface: String,
    member: String,
    error: String,
    reply_serial: u32,
    sender: String,
    signature: String,
}

impl Fields {
    fn take(&mut self, field: Value) -> Result<(), Malformed> {
        let Value::Tuple(field) = field else { return Err(Malformed) };
        let [Value::Byte(field), Value::Variant(value)] = <[Value; 2]>::try_from(field).map_err(|_| Malformed)? else {
            return Err(Malformed);
        };
        let place = match field {
            FIELD_PATH => &mut self.path,
            FIELD_INTERFACE => &mut self.interface,
            FIELD_MEMBER => &mut self.member,
            FIELD_ERROR => &mut self.error,
            FIELD_SENDER => &mut self.sender,
            FIELD_SIGNATURE => &mut self.signature,
            FIELD_REPLY_SERIAL => {
                let Value::Uint32(serial) = *value else { return Err(Malformed) };
                self.reply_serial = serial;
                return Ok(());
            }
            _ => return Ok(()),
        };
        let (Value::Text(text) | Value::Path(text)) = *value else { return Err(Malformed) };
        *place = text;
        Ok(())
    }
}

impl Value {
    /// The text, also of an object path.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Path(text) => Some(text),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn uint32(&self) -> Option<u32> {
        match self {
            Self::Uint32(number) => Some(*number),
            _ => None,
        }
    }

    /// The elements of an array.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    fn into_items(self) -> Vec<Self> {
        match self {
            Self::Array(items) => items,
            _ => Vec::new(),
        }
    }

    /// What an `a{sv}` says for this key.
    #[must_use]
    pub fn key(&self, wanted: &str) -> Option<&Self> {
        self.items().iter().find_map(|entry| match entry {
            Self::Tuple(entry) => match entry.as_slice() {
                [Self::Text(key), Self::Variant(value)] if key == wanted => Some(&**value),
                _ => None,
            },
            _ => None,
        })
    }

    /// An `ay`.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let byte = |item: &Self| match item {
            Self::Byte(byte) => Some(*byte),
            _ => None,
        };
        matches!(self, Self::Array(_)).then(|| self.items().iter().map(byte).collect()).flatten()
    }
}

/// What is left of a message that begins at a place that is aligned to 8.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> Result<(), Malformed> {
        let missing = self.at.next_multiple_of(to) - self.at;
        if self.take(missing)?.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Malformed) }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn uint32(&mut self) -> Result<u32, Malformed> {
        self.align(4)?;
        let bytes = self.take(4)?.try_into().map_err(|_| Malformed)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn text(&mut self, length: usize) -> Result<String, Malformed> {
        let text = String::from_utf8(self.take(length)?.to_vec()).map_err(|_| Malformed)?;
        if self.byte()? == 0 { Ok(text) } else { Err(Malformed) }
    }

    fn long_text(&mut self) -> Result<String, Malformed> {
        let length = self.uint32()?;
        self.text(usize::try_from(length).map_err(|_| Malformed)?)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let length = self.byte()?;
        self.text(length.into())
    }

    /// The values of one signature, one after the other.
    fn values(&mut self, mut signature: &str, depth: usize) -> Result<Vec<Value>, Malformed> {
        let mut values = Vec::new();
        while !signature.is_empty() {
            let (kind, rest) = split_type(signature)?;
            values.push(self.value(kind, depth)?);
            signature = rest;
        }
        Ok(values)
    }

    pub(super) fn value(&mut self, kind: &str, depth: usize) -> Result<Value, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed);
        }
        Ok(match kind.as_bytes()[0] {
            b'y' => Value::Byte(self.byte()?),
            b'b' => match self.uint32()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(Malformed),
            },
            b'u' => Value::Uint32(self.uint32()?),
            b's' => Value::Text(self.long_text()?),
            b'o' => Value::Path(self.long_text()?),
            b'g' => Value::Text(self.signature()?),
            b'i' | b'h' => self.other(4)?,
            b'n' | b'q' => self.other(2)?,
            b'x' | b't' | b'd' => self.other(8)?,
            b'v' => {
                let signature = self.signature()?;
                let (kind, rest) = split_type(&signature)?;
                if !rest.is_empty() {
                    return Err(Malformed);
                }
                Value::Variant(Box::new(self.value(kind, depth + 1)?))
            }
            b'a' => self.array(&kind[1..], depth + 1)?,
            _ => {
                // A struct or an entry: split_type lets nothing else through.
                self.align(8)?;
                Value::Tuple(self.values(&kind[1..kind.len() - 1], depth + 1)?)
            }
        })
    }

    fn other(&mut self, size: usize) -> Result<Value, Malformed> {
        self.align(size)?;
        self.take(size)?;
        Ok(Value::Other)
    }

    fn array(&mut self, element: &str, depth: usize) -> Result<Value, Malformed> {
        let length = usize::try_from(self.uint32()?).map_err(|_| Malformed)?;
        self.align(alignment(element))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(Malformed)?;
        let mut items = Vec::new();
        while self.at < end {
            let began = self.at;
            items.push(self.value(element, depth)?);
            // An empty struct has no bytes, and would never come to an end.
            if self.at == began {
                return Err(Malformed);
            }
        }
        if self.at == end { Ok(Value::Array(items)) } else { Err(Malformed) }
    }
}

fn alignment(kind: &str) -> usize {
    match kind.as_bytes()[0] {
        b'y' | b'g' | b'v' => 1,
        b'n' | b'q' => 2,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 4,
    }
}

/// The first complete type of a signature, and the rest of it.
fn split_type(signature: &str) -> Result<(&str, &str), Malformed> {
    let mut open = 0_usize;
    for (at, letter) in signature.bytes().enumerate() {
        match letter {
            b'(' | b'{' => open += 1,
            b')' | b'}' => open = open.checked_sub(1).ok_or(Malformed)?,
            // What follows is what it is an array of.
            b'a' => continue,
            b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' | b'h' => {}
            _ => return Err(Malformed),
        }
        if open == 0 {
            return Ok(signature.split_at(at + 1));
        }
    }
    Err(Malformed)
}
