//! The one place that knows the MQTT libraries.

#[cfg(any(feature = "thing", feature = "controller"))]
pub mod client;
#[cfg(any(feature = "thing", feature = "cloud"))]
pub mod server;
