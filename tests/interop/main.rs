//! Stock clients of other people against the real daemon: whoever follows docs/protocol.md can talk to
//! a thing without any code of ours.
//!
//! | Client | Transport | Envelope |
//! |---|---|---|
//! | `mosquitto_pub`, `mosquitto_sub` | their own, MQTT 3.1.1 and 5.0 | this crate's |
//! | `controller.mjs`, Node | Node's `tls` with `pskCallback` | `node:crypto`, written from the document |
//! | `controller.py`, Python | `ssl` from Python 3.13 on; before that, for want of PSK there, `openssl s_client` as a pipe | the document's own listing, executed as it stands there |
//!
//! The last one pairs as well. No secret is on a command line: Mosquitto's clients read theirs from a
//! settings file that is the user's alone, the scripts from their standard input.
//!
//! All of this needs Debian packages, so that `cargo test` leaves it out and `tests/all` runs it.

mod mosquitto;
mod mosquitto_refused;
mod scripts;
mod stock_client;
#[path = "../support/mod.rs"]
mod support;
mod wiretap;

use std::net::TcpStream;

use sect::proto::pairing::binding::Binding;
use support::{Plug, line, wait_for};

/// A plug at home, and what its controller keeps of it.
fn at_home() -> (Plug, Binding) {
    let plug = Plug::unclaimed();
    // The display shows the passcode a moment before the server listens (protocol section 7.1).
    wait_for("the local server", || TcpStream::connect(plug.access_point()).ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let binding = runtime.block_on(line::claim(&plug));
    (plug, binding)
}
