//! The factory and the owner of a cloud server, with the real programs; what they made is judged by
//! OpenSSL and by rustls, and never by the code that made it (SecT STEP 8; protocol section 10).

mod devices;
mod factory;
mod foreign;
mod judge;
mod line;
mod servers;
#[path = "../support/mod.rs"]
mod support;

/// The id of a plug that needs no identity of its own.
pub(crate) const ID: &str = "0123456789abcdef";
