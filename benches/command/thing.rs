//! The real `sectd`, claimed, at home, and logging as it does in a household.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use sect::proto::pairing::binding::Binding;
use tempfile::TempDir;

use crate::support::{Plug, line};
use crate::talk::{self, Talk};
use crate::wire::Wire;
use crate::{footprint, goal};

/// Where Linux keeps files in memory; a plug's runtime folder lies in such a place.
const IN_MEMORY: &str = "/dev/shm";
/// How long an idle daemon is watched.
const WATCHED: Duration = Duration::from_secs(30);
/// When the timers of pairing and announcement are over.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// When the last command is over: its screen is drawn at once, its line of the audit log and its key's age go to
/// the disk within a minute, once.
const WRITTEN_AFTER: Duration = Duration::from_secs(70);

/// A daemon that ends with this value.
pub struct RunningThing {
    // Before the folders that it lives in.
    daemon: Daemon,
    plug: Plug,
    /// Its runtime folder, if there is memory to put it in.
    runtime: Option<TempDir>,
    folder: PathBuf,
    /// Its first owner's.
    pub binding: Binding,
}

impl RunningThing {
    /// Starts a factory-fresh daemon and claims it.
    pub fn start(sectd: &Path, under: &str) -> anyhow::Result<Self> {
        let plug = Plug::new();
        let folder = plug.config().parent().context("a file has a folder")?.to_owned();
        let runtime = tempfile::tempdir_in(IN_MEMORY).ok();
        if let Some(runtime) = &runtime {
            symlink(runtime.path(), folder.join("run"))?;
        }
        // A plug asks its own clock; the simulated one is a file that is looked at again and again.
        let settings = fs::read_to_string(plug.config())?;
        let settings = settings.split_once("[clock]").map_or(&*settings, |(before_clock, _)| before_clock);
        fs::write(plug.config(), settings)?;
        let mut words = under.split_whitespace().map(OsStr::new).chain([sectd.as_os_str()]);
        let daemon = Command::new(words.next().context("there is at least sectd")?)
            .args(words)
            .arg("--config")
            .arg(plug.config())
            .env_remove("SECT_LOG")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("log"))?)
            .spawn()
            .context("sectd does not start")?;
        let daemon = Daemon(daemon);
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let binding = tokio.block_on(line::claim(&plug));
        Ok(Self { daemon, plug, runtime, folder, binding })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.daemon.0.id()
    }

    /// A folder for what belongs to this run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where what lies in memory belongs, its outlet among it.
    pub fn runtime_folder(&self) -> &Path {
        self.runtime.as_ref().map_or(&self.folder, TempDir::path)
    }

    /// What its runtime folder lies on.
    pub fn runtime_on(&self) -> &'static str {
        if self.runtime.is_some() { "memory" } else { "the temporary folder" }
    }

    /// A session under its first owner's binding.
    pub fn open(&self, client_id: &str) -> io::Result<Wire> {
        self.open_as(&self.binding, client_id)
    }

    /// A session under another binding.
    pub fn open_as(&self, binding: &Binding, client_id: &str) -> io::Result<Wire> {
        talk::open(self.plug.home(), binding, client_id)
    }

    /// The plug as the tests know it.
    pub fn plug(&self) -> &Plug {
        &self.plug
    }
}

struct Daemon(Child);

impl Drop for Daemon {
    /// As systemd ends it, so that a program that watches it can say what it saw.
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        if rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok() {
            let _ = self.0.wait();
        }
    }
}

/// Counts how often an idle daemon wakes up, by thread: alone, then with a session that is silent.
pub fn watch_idle(sectd: &Path) -> anyhow::Result<()> {
    let thing = RunningThing::start(sectd, "")?;
    std::thread::sleep(SETTLED_AFTER);
    watch(&thing, "no session")?;
    let mut talk = Talk::start(thing.open("idle")?, &thing.binding)?;
    talk.command()?;
    std::thread::sleep(WRITTEN_AFTER);
    watch(&thing, "one idle session")?;
    drop(talk);
    Ok(())
}

fn watch(thing: &RunningThing, what: &str) -> anyhow::Result<()> {
    let before = footprint::sleeps(thing.pid())?;
    std::thread::sleep(WATCHED);
    let after = footprint::sleeps(thing.pid())?;
    println!("Wake-ups of sectd in {} s with {what}, by thread:", WATCHED.as_secs());
    let mut total = 0;
    for (thread, (name, count)) in after.iter().enumerate() {
        let woken = count - before.get(thread).map_or(0, |(_, count)| *count);
        println!("{name:<44}{woken:>8}");
        total += woken;
    }
    goal("in all", total as f64, (WATCHED.as_secs() / 10) as f64);
    Ok(())
}
