//! The shell of the cloud server, which carries messages that it cannot read (SecT STEP 8, 9, 14, 15).
//!
//! Who may do what stands in [`crate::proto::cloud`], the MQTT of a session in
//! [`crate::mqtt::server`]. Here are the sockets, TLS, the store and the limits. The server keeps no
//! message: it hands each to those who are connected and may read its topic, and forgets it.
//!
//! A connection is one task: `session` polls it, `router` finds whom a message is for. The task that has
//! read a message also writes it to that client's `line`, or leaves it in the client's `mailbox` if
//! somebody is on that line. Registrations go through one thread, `registrar`, which makes them
//! durable before it answers. `listener` bounds what strangers cost.

pub mod args;
pub mod config;
mod daemon;
mod gate;
mod line;
mod listener;
pub mod log;
mod mailbox;
mod main;
mod metrics;
mod operator;
mod places;
pub mod provision;
mod registrar;
mod router;
mod session;
pub mod store;
mod tls;

pub use main::{main, run_with};
