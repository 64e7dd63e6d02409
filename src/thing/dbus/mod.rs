//! As much of D-Bus as a plug needs: calls to one service of the system bus, and its signals
//! (D-Bus specification 0.43).
//!
//! The crate that is usual for this made the daemon of the board half a megabyte larger, which it may not be,
//! and keeps copies of the passwords that go through it (docs/adr/0016). What comes from the bus comes from
//! the machine's own services, and is read as if it did not: a message that is none ends the connection.

mod call;
mod link;
mod message;
#[cfg(test)]
mod tests;
mod wire;

pub use self::call::{Argument, Call, Settings};
pub use self::link::{BUS, Link, LinkError};
pub use self::message::{Kind, Malformed, Message, Value};
