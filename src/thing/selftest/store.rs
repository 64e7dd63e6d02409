//! The store: what is there is looked at, and a scratch one beside it shows how the card does.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::bench::{Bench, Halt};
use crate::proto::certificate::ThingIdentity;
use crate::proto::message::OutletState;
use crate::proto::port::Vault as _;
use crate::thing::clock;
use crate::thing::config::Config;
use crate::thing::store::{Held, Store, StoreError};

/// The scratch store's folder.
const SCRATCH: &str = "selftest";
/// Durable changes that are measured.
const CHANGES: usize = 32;
/// Pairing waits for one of them; a card that takes longer than this is not worth a plug.
const TOO_SLOW: Duration = Duration::from_secs(1);
/// What the store, its journal and its audit log may need, with a good deal to spare.
const ROOM: u64 = 16 << 20;

pub(super) fn test(bench: &mut Bench, config: &Config, held: &Result<Option<Held>, StoreError>) -> Result<(), Halt> {
    let folder = &config.state_dir;
    bench.begin("store", &folder.display().to_string());
    match held {
        Ok(None) => bench.pass("sound", "there is none yet; the daemon's first start makes it"),
        Ok(Some(held)) if held.is_claimed() => bench.pass("sound", "each page is; the plug has an owner"),
        Ok(Some(_)) => bench.pass("sound", "each page is; the plug has no owner"),
        Err(error) => {
            let todo = match error {
                StoreError::Newer => "install the newer sectd again",
                _ => "bring the state folder back from a backup; without one the card has to be set up anew",
            };
            bench.fail("sound", error.to_string(), todo);
        }
    }
    let is_new = !folder.exists();
    if !is_new {
        check_modes(bench, folder);
    }
    if let Err(error) = make(folder) {
        let todo = "the folder must be the daemon's own and on a card that can be written: see `mount` and `ls -ld`";
        bench.fail("writes", format!("{}: {error}", folder.display()), todo);
        return Ok(());
    }
    measure(bench, folder);
    check_room(bench, folder);
    if is_new {
        // It is empty again, unless somebody has put something there just now.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).recursive(true).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn check_modes(bench: &mut Bench, folder: &Path) {
    let loose = (|| {
        let mut loose = Vec::new();
        let mut look = |path: &Path| -> io::Result<()> {
            let found = fs::symlink_metadata(path)?;
            let mine = found.uid() == rustix::process::geteuid().as_raw();
            if !mine || found.mode() & 0o077 != 0 {
                loose.push(format!("{} ({:o}, uid {})", path.display(), found.mode() & 0o7777, found.uid()));
            }
            Ok(())
        };
        look(folder)?;
        for entry in fs::read_dir(folder)? {
            look(&entry?.path())?;
        }
        Ok::<_, io::Error>(loose)
    })();
    match loose {
        Ok(loose) if loose.is_empty() => bench.pass("modes", "the folder and its files are their owner's alone"),
        Ok(loose) => bench.fail(
            "modes",
            loose.join(", "),
            format!("chmod -R go= {0}; if the owner is wrong, chown -R sect: {0}", folder.display()),
        ),
        Err(error) => bench.fail(
            "modes",
            error.to_string(),
            "run it as root, who goes on as the daemon's user: sudo sectd selftest store",
        ),
    }
}

/// Writes as the daemon does, into a store of its own, and looks whether it is there after opening it again.
fn measure(bench: &mut Bench, folder: &Path) {
    let scratch = folder.join(SCRATCH);
    let measured = (|| {
        remove(&scratch)?;
        let create = || ThingIdentity::create(&mut clock::os_rng()).to_stored();
        let (mut store, _) = Store::open(&scratch, create).map_err(io::Error::other)?;
        let mut times = Vec::with_capacity(CHANGES);
        for change in 0..CHANGES {
            let begun = Instant::now();
            store.remember(OutletState::from_on(change % 2 == 0)).map_err(io::Error::other)?;
            times.push(begun.elapsed());
        }
        store.remember(OutletState::On).map_err(io::Error::other)?;
        drop(store);
        let (_, stored) = Store::open(&scratch, create).map_err(io::Error::other)?;
        if stored.outlet != Some(OutletState::On) {
            return Err(io::Error::other("what was written is not there after opening it again"));
        }
        times.sort_unstable();
        Ok((times[CHANGES / 2], times[CHANGES - 1]))
    })();
    let removed = remove(&scratch);
    match measured {
        Ok((median, worst)) => {
            let ms = |time: Duration| time.as_secs_f64() * 1000.0;
            let detail = format!("a durable change takes {:.1} ms, {:.1} ms at worst", ms(median), ms(worst));
            if median < TOO_SLOW {
                bench.pass("writes", detail);
            } else {
                bench.fail("writes", detail, "use another card, of class A1 or better");
            }
        }
        Err(error) => {
            bench.fail("writes", error.to_string(), "see whether the card is full or read-only: df, mount, dmesg")
        }
    }
    if let Err(error) = removed {
        bench.fail("cleared", error.to_string(), format!("rm -r {}", scratch.display()));
    }
}

fn remove(scratch: &Path) -> io::Result<()> {
    match fs::remove_dir_all(scratch) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn check_room(bench: &mut Bench, folder: &Path) {
    match rustix::fs::statvfs(folder) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let detail = format!("{} MB free", free >> 20);
            if free >= ROOM {
                bench.pass("room", detail);
            } else {
                bench.fail("room", detail, "make room on the card: 16 MB at least; journalctl --vacuum-size=16M helps");
            }
        }
        Err(error) => bench.fail("room", error.to_string(), "see whether the card is there: df"),
    }
}
