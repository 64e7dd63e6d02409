//! SecT-v1 without I/O: bytes, events, the time and random numbers go in, outcomes and
//! [`action::Action`]s come out.
//!
//! Read in the order of the paper: [`passcode`] and [`pairing`] (STEP 1, 2, 6), [`topic`] (STEP 3),
//! [`credential`] (STEP 5), [`keys`] (STEP 6, 7), [`message`] and [`freshness`] (STEP 12, 13), and the
//! two machines that compose them, [`thing`] and [`controller`].

pub mod id;
pub mod secret;
