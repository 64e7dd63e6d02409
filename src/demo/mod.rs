//! `sect demo`: the scripted pairing simulation (SecT STEP 1-20).
//!
//! A plug, its owner and a cloud server as real processes, over real sockets, TLS-PSK and SQLite, in a temporary
//! folder and on loopback alone. Nothing is played: each line is printed after what it says was seen,
//! and what is not seen ends the demo with an error.

mod attacker;
mod factory;
mod household;
mod lcd;
mod life;
mod script;
mod stage;

use std::process::ExitCode;

use crate::controller::args::Demo;
use crate::{cloud, thing};

/// Plays the simulation; exits with 0 only if all of it happened.
#[must_use]
pub fn main(options: &Demo) -> ExitCode {
    // The plug and the cloud server are this very program, in processes of their own.
    if let Some(config) = &options.plug {
        return thing::run_with(config);
    }
    if let Some(config) = &options.cloud {
        return cloud::run_with(config);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return stage::give_up(&error.into()),
    };
    match runtime.block_on(script::play(options.stay)) {
        Ok(script::Ended::Told) => ExitCode::SUCCESS,
        Ok(script::Ended::Stopped) if options.stay => ExitCode::SUCCESS,
        // As a shell reports a program that Ctrl-C has ended.
        Ok(script::Ended::Stopped) => ExitCode::from(130),
        Err(error) => stage::give_up(&error),
    }
}
