//! The cloud server without I/O: who may use which topic (SecT STEP 9, 14, 20; protocol section 10).
//!
//! A thing is known by its TLS identity and registers its whole list at once. [`Registry::plan`] says
//! what a list would change, the shell makes that durable, [`Registry::commit`] puts it in force. What
//! one thing holds or has given up lately no other thing gets: squatting and the deletion of other
//! people's topics need rights that nobody can register.
//!
//! The caller brings the identity, the wall clock in Unix seconds and the store.

mod account;
mod held;
mod registry;
mod topic;

#[cfg(test)]
mod tests;

pub use account::{Account, Rate};
pub use held::Held;
pub use registry::{Answer, Change, Committed, Listed, Plan, Registry, Reserved, ThingRecord};
pub use topic::{Direction, Party, Right, parse_topic};

/// For so long a dropped topic or user stays its thing's own, in seconds: 30 days.
pub const RESERVED_S: u64 = 30 * 24 * 3600;
/// Reservations of one thing at most, topics and users apart; the oldest give way, so that a thing that
/// registers ever new lists takes a bounded place.
pub const MAX_RESERVED: usize = 256;
