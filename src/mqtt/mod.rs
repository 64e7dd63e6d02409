//! The one place that knows the MQTT libraries.

#[cfg(any(feature = "thing", feature = "controller"))]
pub mod client;
#[cfg(feature = "thing")]
pub mod server;
