//! What the factory and the owner of a cloud server do before anything runs: authorities, server
//! certificates, one certificate for each thing (SecT STEP 8; protocol section 10).

mod args;
pub mod authority;
mod command;
pub mod folder;
pub mod host;
pub mod profile;

pub use args::{Args, Command};
pub use authority::{Authority, Issued};
pub use command::{
    AUTHORITY_CERTIFICATE, AUTHORITY_KEY, DEVICE_CERTIFICATE, DEVICE_KEY, SERVER_CERTIFICATE, SERVER_KEY, run,
};
pub use host::Host;
pub use profile::{AuthorityCertificate, Purpose};
