//! One MQTT connection as its server sees it, without I/O.
//!
//! Bytes, the time and a [`Policy`] go in; [`Event`]s and bytes to write come out. MQTT 3.1.1 and 5.0
//! are told apart by the client's CONNECT. Parsing, packet identifiers and flow control are
//! `mqtt-protocol-core`'s; who may log in, publish and subscribe is the policy's; what SecT never
//! allows is refused here: wills, retained messages, wildcards, QoS 2, topic aliases, a session that
//! outlives its connection (protocol sections 3 and 10).
//!
//! A session holds a bounded amount of memory whatever its client sends or fails to read. It knows
//! nothing of TLS, sockets or SecT's messages: the caller reads, writes, keeps the clock and finds
//! the sessions that a message is for.

mod connect;
mod login;
mod open;
mod output;
mod policy;
mod reply;
mod session;
mod short;

#[cfg(test)]
mod tests;

pub use policy::{ConnectRequest, Policy, Refusal};
pub use session::{CloseReason, Delivery, Event, Publication, Rejection, Session};

use std::time::Duration;

/// How a message is handed over. QoS 2 does not exist in SecT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// Sent once, not acknowledged.
    AtMostOnce,
    /// Acknowledged by the client's PUBACK, as long as the connection lasts.
    AtLeastOnce,
}

/// What one session may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// A CONNECT that is not complete by then ends the session.
    pub connect_within: Duration,
    /// The largest CONNECT, in bytes: it comes from somebody who has not logged in yet.
    pub connect_bytes: usize,
    /// The largest packet that a client may send, in bytes with its fixed header.
    pub packet_bytes: u32,
    /// Topics that one session may be subscribed to at the same time.
    pub subscriptions: usize,
    /// Bytes that may wait for a client that reads slowly; beyond that the session ends.
    pub queued_bytes: usize,
    /// For so long nothing at all may be written before the session ends.
    pub stalled_for: Duration,
    /// QoS 1 messages on their way to the client at the same time; a 5.0 client may ask for fewer.
    pub unacknowledged: u16,
    /// QoS 1 messages that wait for their turn; beyond that the session ends.
    pub waiting: usize,
    /// The longest keep-alive granted to an MQTT 5.0 client, in seconds.
    pub keep_alive_s: u16,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            connect_within: Duration::from_secs(5),
            connect_bytes: 1024,
            packet_bytes: 8192,
            subscriptions: 1,
            queued_bytes: 64 * 1024,
            stalled_for: Duration::from_secs(20),
            unacknowledged: 16,
            waiting: 16,
            keep_alive_s: 600,
        }
    }
}
