//! `sect-cloud` as a process, and TLS MQTT clients, honest and hostile (SecT STEP 8, 9, 14, 15, 20;
//! protocol section 10).

#![allow(unreachable_pub, reason = "one crate in several files")]

mod certificates;
mod client;
mod crowd;
mod isolation;
mod mosquitto;
mod operator;
#[path = "../support/packets.rs"]
mod packets;
#[path = "../support/pki.rs"]
#[allow(dead_code, reason = "each test crate uses its own part of it")]
mod pki;
mod registration;
mod server;
mod service;
mod storm;
