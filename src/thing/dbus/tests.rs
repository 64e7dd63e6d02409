//! What is written and read, byte by byte.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::call::{Argument, Call, Settings, Writer, length};
use super::message::{Kind, Malformed, Message, Reader, Value};
use super::wire::{
    ERROR, FIELD_ERROR, FIELD_INTERFACE, FIELD_MEMBER, FIELD_PATH, FIELD_REPLY_SERIAL, FIELD_SENDER, FIELD_SIGNATURE,
    METHOD_CALL, METHOD_RETURN, SIGNAL,
};
use crate::proto::secret::SecretString;

/// A message of the bus, as `dbus-daemon` writes it.
fn message(kind: u8, fields: &[(u8, &str, &str)], signature: &str, body: &[u8]) -> Vec<u8> {
    let mut message = Writer::default();
    message.bytes(&[b'l', kind, 1, 1]);
    message.uint32(length(body.len()));
    message.uint32(9);
    message.array(8, |all| {
        for (field, kind, text) in fields {
            all.align(8);
            all.bytes(&[*field]);
            all.signature(kind);
            all.text(text);
        }
        all.align(8);
        all.bytes(&[FIELD_REPLY_SERIAL]);
        all.signature("u");
        all.uint32(7);
        all.align(8);
        all.bytes(&[FIELD_SIGNATURE]);
        all.signature("g");
        all.signature(signature);
    });
    message.align(8);
    message.bytes(body);
    message.0.to_vec()
}

fn written(argument: &Argument) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.argument(argument);
    writer.0.to_vec()
}

#[test]
fn a_call_is_written_as_the_specification_says() {
    let call = Call { destination: "a.b", path: "/c", interface: "d.e", member: "F" };
    let expected = [
        // Little-endian, a call, no flags, version 1; a body of 4 bytes; serial 3; 71 bytes of fields.
        &b"l\x01\x00\x01\x04\x00\x00\x00\x03\x00\x00\x00\x47\x00\x00\x00"[..],
        b"\x01\x01o\x00\x02\x00\x00\x00/c\x00\x00\x00\x00\x00\x00",
        b"\x02\x01s\x00\x03\x00\x00\x00d.e\x00\x00\x00\x00\x00",
        b"\x03\x01s\x00\x01\x00\x00\x00F\x00\x00\x00\x00\x00\x00\x00",
        b"\x06\x01s\x00\x03\x00\x00\x00a.b\x00\x00\x00\x00\x00",
        b"\x08\x01g\x00\x01u\x00",
        b"\x00",
        b"\x2a\x00\x00\x00",
    ]
    .concat();
    let bytes = call.to_bytes(3, &[Argument::Uint32(42)]);
    assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
    let fixed = *bytes.first_chunk().expect("16 bytes");
    assert_eq!(Message::length(fixed), Ok(bytes.len()));
}

#[test]
fn each_kind_of_argument_is_read_as_it_was_written() {
    let settings = Settings::from([("k", Argument::Bytes(vec![7])), ("l", Argument::Bool(true))]);
    let read = |argument: &Argument| {
        let bytes = written(argument);
        let mut reader = Reader { bytes: &bytes, at: 0 };
        let value = reader.value(argument.signature(), 0).expect("well written");
        assert_eq!(reader.at, bytes.len());
        value
    };
    let text = |text: &str| Value::Text(text.to_owned());
    let entry = |key: &str, value| Value::Tuple(vec![text(key), Value::Variant(Box::new(value))]);
    let map = Value::Array(vec![entry("k", Value::Array(vec![Value::Byte(7)])), entry("l", Value::Bool(true))]);
    let secret = SecretString::new("hunter22".to_owned());
    for (argument, value) in [
        (Argument::Bool(false), Value::Bool(false)),
        (Argument::Int32(-1), Value::Other),
        (Argument::Uint32(7), Value::Uint32(7)),
        ("a".into(), text("a")),
        (Argument::Secret(secret), text("hunter22")),
        (Argument::Path("/".to_owned()), Value::Path("/".to_owned())),
        (Argument::Bytes(vec![0xff, 1]), Value::Array(vec![Value::Byte(0xff), Value::Byte(1)])),
        (Argument::Texts(vec!["a".to_owned(), "bc".to_owned()]), Value::Array(vec![text("a"), text("bc")])),
        (Argument::Texts(Vec::new()), Value::Array(Vec::new())),
        (Argument::Variant(Box::new(Argument::Uint32(7))), Value::Variant(Box::new(Value::Uint32(7)))),
        (Argument::Settings(settings.clone()), map.clone()),
        (Argument::Settings(Settings::new()), Value::Array(Vec::new())),
        (Argument::ManySettings(vec![settings.clone()]), Value::Array(vec![map.clone()])),
        (Argument::Profile(BTreeMap::from([("s", settings)])), Value::Array(vec![Value::Tuple(vec![text("s"), map])])),
    ] {
        assert_eq!(read(&argument), value, "{argument:?}");
    }
}

#[test]
fn an_answer_an_error_and_a_signal_are_told_apart() {
    let body = written(&"why".into());
    let read = |kind, fields: &[(u8, &str, &str)]| Message::read(&message(kind, fields, "s", &body));
    let sender = (FIELD_SENDER, "s", ":1.5");
    let expect = |kind| Ok(Message { kind, sender: ":1.5".to_owned(), body: vec![Value::Text("why".to_owned())] });
    assert_eq!(read(METHOD_RETURN, &[sender]), expect(Kind::Return { to: 7 }));
    let error = read(ERROR, &[sender, (FIELD_ERROR, "s", "a.No")]);
    assert_eq!(error, expect(Kind::Error { to: 7, name: "a.No".to_owned() }));
    let fields = [sender, (FIELD_PATH, "o", "/p"), (FIELD_INTERFACE, "s", "i.i"), (FIELD_MEMBER, "s", "M")];
    let [path, interface, member] = ["/p", "i.i", "M"].map(str::to_owned);
    assert_eq!(read(SIGNAL, &fields), expect(Kind::Signal { path, interface, member }));
    assert_eq!(read(METHOD_CALL, &fields), expect(Kind::Other));
}

#[test]
fn what_is_no_message_is_refused() {
    let body = written(&Argument::Texts(vec!["a".to_owned()]));
    let good = message(SIGNAL, &[(FIELD_SENDER, "s", ":1.5")], "as", &body);
    assert!(Message::read(&good).is_ok());
    for length in 0..good.len() {
        assert_eq!(Message::read(&good[..length]), Err(Malformed), "cut at {length}");
    }
    for (what, at, byte) in [
        ("big-endian", 0, b'B'),
        ("another version", 3, 2),
        ("a longer body", 4, 200),
        ("longer fields", 12, 200),
        ("too long", 6, 4),
        ("an array that is longer than the message", good.len() - body.len(), 200),
        ("a text without an end", good.len() - 1, b'!'),
        ("a text that is none", good.len() - 2, 0xff),
    ] {
        let mut message = good.clone();
        message[at] = byte;
        assert_eq!(Message::read(&message), Err(Malformed), "{what}");
    }
    for (signature, body) in [
        ("(", &b"\x01"[..]),
        ("a", b"\x01\x00\x00\x00"),
        ("z", b"\x01"),
        (")", b"\x01"),
        ("b", b"\x02\x00\x00\x00"),
        ("v", b"\x00\x00"),
        ("v", b"\x02uu\x00\x00\x00\x00\x00"),
        ("a()", b"\x01\x00\x00\x00\x00\x00\x00\x00\x00"),
        ("y", b"\x01\x02"),
        ("yu", b"\x01\x02\x00\x00\x01\x00\x00\x00"),
    ] {
        assert_eq!(Message::read(&message(SIGNAL, &[], signature, body)), Err(Malformed), "{signature}");
    }
    // Variants in variants: the specification has an end to them.
    let nested = [b"\x01v\x00".repeat(64), b"\x01y\x00\x01".to_vec()].concat();
    assert_eq!(Message::read(&message(SIGNAL, &[], "v", &nested)), Err(Malformed));
}

proptest! {
    #[test]
    fn a_message_with_other_bytes_in_it_is_read_or_refused(changes in vec((any::<Index>(), any::<u8>()), 1..6)) {
        let body = [written(&"text".into()), vec![0; 3], written(&Argument::Texts(vec!["a".to_owned()]))].concat();
        let mut message = message(SIGNAL, &[(FIELD_SENDER, "s", ":1.5"), (FIELD_PATH, "o", "/p")], "sas", &body);
        prop_assert!(Message::read(&message).is_ok());
        for (place, byte) in changes {
            *place.get_mut(&mut message) = byte;
        }
        // It comes back, with whatever.
        let _ = Message::read(&message);
    }
}
