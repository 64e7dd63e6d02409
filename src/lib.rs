//! SecT: a thing-centered smart plug that answers to its owner and to nobody else.
//!
//! The crate has a pure middle and three edges. Dependencies point inwards only:
//! `bin -> {thing, controller, cloud} -> {mqtt, proto}`.
//!
//! | Module | Feature | Is |
//! |---|---|---|
//! | [`proto`] | always | SecT-v1 without any I/O: keys, envelope, pairing, the thing's and the controller's machines |
//! | `mqtt` | any edge | the one place that knows the MQTT libraries |
//! | `radio` | any edge | the fake air between the simulated plug and a controller |
//! | `crash` | `crash-points` | named points at which a test cuts the power |
//! | `core_dump` | any edge | no copy of the memory outlives a crash |
//! | `thing` | `thing` | the daemon on the plug, `sectd` |
//! | `controller` | `controller` | the owner's command line, `sect` |
//! | `cloud` | `cloud` | the server that carries messages without reading them, `sect-cloud` |
//! | `demo` | all three | the scripted pairing simulation, `sect demo` |
//!
//! `cargo check --lib --no-default-features` builds the pure middle alone and fails as soon as it
//! names a socket, a file or a clock.

pub mod proto;

#[cfg(any(feature = "edge", feature = "cloud"))]
pub mod crash;

#[cfg(any(feature = "edge", feature = "cloud"))]
pub mod core_dump;

#[cfg(any(feature = "edge", feature = "cloud"))]
pub mod mqtt;

#[cfg(feature = "edge")]
pub mod radio;

#[cfg(feature = "thing")]
pub mod thing;

#[cfg(feature = "controller")]
pub mod controller;

#[cfg(feature = "cloud")]
pub mod cloud;

#[cfg(all(feature = "thing", feature = "controller", feature = "cloud"))]
pub mod demo;
