//! The numbers of the protocol (D-Bus specification, "Message Format"); bytes are little-endian in both directions.

pub(super) const LITTLE_ENDIAN: u8 = b'l';
pub(super) const VERSION: u8 = 1;

pub(super) const METHOD_CALL: u8 = 1;
pub(super) const METHOD_RETURN: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

pub(super) const FIELD_PATH: u8 = 1;
pub(super) const FIELD_INTERFACE: u8 = 2;
pub(super) const FIELD_MEMBER: u8 = 3;
pub(super) const FIELD_ERROR: u8 = 4;
pub(super) const FIELD_REPLY_SERIAL: u8 = 5;
pub(super) const FIELD_DESTINATION: u8 = 6;
pub(super) const FIELD_SENDER: u8 = 7;
pub(super) const FIELD_SIGNATURE: u8 = 8;
