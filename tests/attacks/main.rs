//! Attacks on the real `sectd`, over loopback and in its folders.
//!
//! Each test plays one attacker against the process and holds it to the same things: its memory stays
//! within a stated bound, its log at INFO and above does not grow, somebody honest who has a session
//! keeps switching within [`arena::PROMPT`], and afterwards a new session opens.

#![allow(clippy::print_stdout, reason = "a test that fails shows what was measured")]

#[path = "../support/mod.rs"]
mod support;

mod arena;
mod commands;
mod passcode;
mod raw;
mod runtime_folder;
mod secrets;
mod start;
mod stranger;
mod user;
#[path = "../support/wire.rs"]
mod wire;
