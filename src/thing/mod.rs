//! The shell of the thing: everything around [`crate::proto::thing`] that touches the world.

pub mod local_server;
