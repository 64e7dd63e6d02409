//! What the factory and the owner of a cloud server do before anything runs: authorities, server
//! certificates, one certificate for each thing (SecT STEP 8; protocol section 10).

pub mod authority;
pub mod host;
pub mod profile;

pub use authority::{Authority, Issued};
pub use host::Host;
pub use profile::{AuthorityCertificate, Purpose};
