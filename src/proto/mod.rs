//! SecT-v1 without I/O: bytes, events, the time and random numbers go in, outcomes and
//! [`action::Action`]s come out.
//!
//! Read in the order of the paper: [`passcode`] (STEP 1, 2), [`topic`] (STEP 3),
//! [`credential`] (STEP 5), [`keys`] (STEP 6, 7).

pub mod action;
pub mod aead;
pub mod calendar;
pub mod certificate;
pub mod cloud;
pub mod controller;
pub mod credential;
mod draw;
pub mod envelope;
pub mod freshness;
pub mod id;
pub mod invitation;
pub mod json;
pub mod keys;
pub mod message;
pub mod operation;
pub mod pairing;
pub mod passcode;
pub mod port;
pub mod qr;
pub mod record;
pub mod recovery;
pub mod registration;
pub mod rekey;
pub mod secret;
pub mod signature;
mod text;
pub mod thing;
pub mod time;
pub mod topic;
pub mod user;
pub mod wifi;

#[cfg(test)]
pub(crate) mod testing;
