//! Pairing, binding and bootstrapping: who reads the passcode becomes the owner
//! (SecT STEP 1, 2, 6, 3, 4, 5, 7; protocol section 7).
//!
//! ```text
//! M1 pair.hello    C->T  clear    a fresh X25519 key
//! M2 pair.accept   T->C  clear    the thing's, and the hash of its CA
//! M3 pair.confirm  C->T  sealed   the controller knows the code and holds its key       STEP 6
//! M4 bind.topic    T->C  sealed   the thing knows the code; T_token                     STEP 3
//! M5 bind.wifi     C->T  sealed   the home network                                      STEP 4
//! M6 bind.cred     T->C  sealed   Ctlr-U/P and the controller's certificate             STEP 5
//! M7 bind.psk      T->C  sealed   the identity of the local server's PSK                STEP 7
//! M8 bind.commit   C->T  sealed   everything is persisted here
//! M9 bind.done     T->C  sealed   and here
//! ```

pub mod binding;
pub mod controller;
pub mod message;
pub mod thing;

/// The PSK identity of who has nothing but the passcode (protocol section 7).
pub const PAIR_IDENTITY: &str = "pair";
