//! The shell of the thing: everything around [`crate::proto::thing`] that touches the world.

pub mod announce;
pub mod args;
pub mod button;
pub mod clock;
pub mod cloud_link;
pub mod config;
pub mod daemon;
pub mod display;
pub mod fifo;
pub mod gpio;
pub mod held;
pub mod led;
pub mod local_server;
pub mod log;
mod main;
pub mod notify;
pub mod outlet;
mod random;
pub mod runtime_dir;
pub mod selftest;
mod stand_by;
pub mod stop;
pub mod store;
pub mod wall_clock;
pub mod watchdog;
pub mod wifi;

pub use main::{main, run_with};
