//! No core dump: a copy of the memory on a disk or at a crash collector holds every key.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Forbids core dumps for this process and those that it starts, for good. It goes on where that is not
/// allowed, and says so: a plug that does not start protects nobody.
pub fn forbid() {
    let maximum = getrlimit(Resource::Core).maximum.map_or(NEITHER_FILE_NOR_PIPE, |now| now.min(NEITHER_FILE_NOR_PIPE));
    let limit = Rlimit { current: Some(maximum), maximum: Some(maximum) };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        complain(&error);
    }
}

#[expect(clippy::print_stderr, reason = "this is done before there is a log")]
fn complain(error: &dyn std::fmt::Display) {
    eprintln!("core dumps stay as they are: {error}");
}

/// In bytes. Linux writes no file that is smaller than a page; it does not look at the limit where a
/// program takes the dump, as systemd-coredump does (core(5)), except for the one value that it gives
/// to such programs themselves.
const NEITHER_FILE_NOR_PIPE: u64 = 1;
