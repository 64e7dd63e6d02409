//! The shell of the cloud server, which will carry messages that it cannot read (SecT STEP 8, 9, 14, 15).
//!
//! It is specified in `docs/protocol.md`, section 10, and not built yet: the binary says so and fails.

pub mod provision;

use std::process::ExitCode;

/// Says that there is no cloud server in this version.
#[must_use]
#[expect(clippy::print_stderr, reason = "the one thing that it can say")]
pub fn main() -> ExitCode {
    eprintln!("sect-cloud: not part of this version; plugs are controlled on the home network");
    ExitCode::FAILURE
}
