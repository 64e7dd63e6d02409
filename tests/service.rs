//! `sectd` as a service manager sees it: notifications, settings, the journal, SIGTERM.

#[path = "support/place.rs"]
mod place;

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use place::{Place, text};
use rustix::process::{Pid, Signal, kill_process};

const SOON: Duration = Duration::from_secs(20);

fn place(more: &str) -> Place {
    Place::new(9, "state", more)
}

/// A daemon that ends with its test, however that ends.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("starts"))
    }

    /// As the service manager ends it.
    fn terminate(mut self) -> ExitStatus {
        self.send(Signal::TERM);
        self.0.wait().expect("a child")
    }

    /// In time, and with success.
    fn ends_well(mut self, signal: Signal) {
        let asked = Instant::now();
        self.send(signal);
        let (status, took) = (self.0.wait().expect("a child"), asked.elapsed());
        assert!(status.success(), "{signal:?}: {status}");
        assert!(took < Duration::from_secs(2), "{signal:?}: {took:?}");
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("a child");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Listens as the service manager.
struct Manager(UnixDatagram);

impl Manager {
    fn new(place: &Place) -> Self {
        let socket = UnixDatagram::bind(place.path("notify")).expect("binds");
        socket.set_read_timeout(Some(SOON)).expect("set");
        Self(socket)
    }

    /// Has it say ten times a second that nothing hangs.
    fn watch(&self, command: &mut Command) {
        command.env("WATCHDOG_USEC", "200000").env_remove("WATCHDOG_PID");
    }

    /// Ten times this, and nothing else.
    fn hear_for_a_while(&self, line: &str) {
        self.hear_until(line);
        for _ in 0..10 {
            assert_eq!(self.hear_until(line), [line]);
        }
    }

    /// What is said up to and with `last`.
    fn hear_until(&self, last: &str) -> Vec<String> {
        let mut said = Vec::new();
        while said.last().is_none_or(|line| line != last) {
            let mut message = [0; 512];
            let length = self.0.recv(&mut message).unwrap_or_else(|error| panic!("no {last}: {error}; {said:?}"));
            said.push(text(&message[..length]).trim_end().to_owned());
        }
        said
    }
}

#[test]
fn the_service_manager_hears_ready_and_stopping_and_never_the_passcode() {
    let place = place("");
    let manager = Manager::new(&place);
    let daemon = Daemon::start(place.sectd().env("NOTIFY_SOCKET", place.path("notify")));
    let mut said = manager.hear_until(WAITING);
    assert!(said.contains(&"READY=1".to_owned()), "{said:?}");
    let display = fs::read_to_string(place.path("run/display")).expect("shown");
    let passcode = display.lines().nth(1).expect("two lines");
    assert_eq!(passcode.len(), 16);

    daemon.ends_well(Signal::TERM);
    said.extend(manager.hear_until("STOPPING=1"));
    assert!(said.iter().all(|line| !line.contains(passcode)), "{said:?}");
}

const WAITING: &str = "STATUS=waiting for its owner: the display shows the passcode";

#[test]
fn however_it_is_told_to_stop_it_says_goodbye_and_the_load_keeps_its_power() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let place = place("");
        DirBuilder::new().mode(0o700).create(place.path("run")).expect("made");
        fs::write(place.path("run/outlet"), "on \n").expect("written");
        fs::write(place.path("run/powered"), "").expect("written");
        let manager = Manager::new(&place);
        let daemon = Daemon::start(place.sectd_at_a_terminal().env("NOTIFY_SOCKET", place.path("notify")));
        manager.hear_until(WAITING);
        daemon.ends_well(signal);
        manager.hear_until("STOPPING=1");
        assert_eq!(fs::read_to_string(place.path("run/outlet")).expect("there"), "on \n", "{signal:?}");
    }
}

#[test]
fn under_nohup_it_outlives_its_terminal() {
    let place = place("");
    let manager = Manager::new(&place);
    let sectd = place.sectd();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(sectd.get_program()).args(sectd.get_args());
    command.env_remove("SECT_LOG").env_remove("JOURNAL_STREAM").env("NOTIFY_SOCKET", place.path("notify"));
    manager.watch(&mut command);
    let daemon = Daemon::start(&mut command);
    manager.hear_until(WAITING);
    daemon.send(Signal::HUP);
    manager.hear_for_a_while("WATCHDOG=1");
    daemon.ends_well(Signal::TERM);
}

#[test]
fn a_claimed_thing_without_its_store_stands_by_and_opens_nothing() {
    let place = place("");
    fs::create_dir(place.path("state")).expect("made");
    fs::write(place.path("state/claimed"), "").expect("written");
    let manager = Manager::new(&place);
    let mut command = place.sectd();
    manager.watch(command.env("NOTIFY_SOCKET", place.path("notify")));
    let daemon = Daemon::start(&mut command);
    let said = manager.hear_until("STATUS=fault: the store is lost or damaged");
    manager.hear_for_a_while("WATCHDOG=1");
    assert_eq!(said.first().map(String::as_str), Some("READY=1"));
    let display = fs::read_to_string(place.path("run/display")).expect("shown");
    assert_eq!(display, "FAULT 1 storage \nrestore a backup\n");
    assert!(!place.path("run/radio.sock").exists());
    assert!(!place.path("state/thing.db").exists());
    let status = daemon.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn the_store_of_a_newer_sectd_is_not_looked_at_again_and_again() {
    let place = place("");
    assert!(place.sectd().arg("identity").status().expect("runs").success());
    let database = place.path("state/thing.db");
    let mut bytes = fs::read(&database).expect("there");
    // Where SQLite has the version of what is in it.
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&database, &bytes).expect("written");
    let manager = Manager::new(&place);
    let mut command = place.sectd();
    manager.watch(command.env("NOTIFY_SOCKET", place.path("notify")));
    let daemon = Daemon::start(&mut command);
    manager.hear_until("STATUS=fault: the store was written by a newer sectd");
    manager.hear_for_a_while("WATCHDOG=1");
    assert!(daemon.terminate().success());
    assert_eq!(fs::read(&database).expect("there"), bytes);
}

#[test]
fn a_plug_whose_outlet_does_not_open_says_so_and_is_not_started_again_and_again() {
    let place = place("[outlet]\ndriver = \"gpiocdev\"\nchip = \"/dev/gpiochip99\"\n");
    let why = "could not open the outlet: GPIO line 17 of /dev/gpiochip99: there is no such chip";
    let by_hand = place.sectd().output().expect("runs");
    assert_eq!(by_hand.status.code(), Some(1));
    assert!(text(&by_hand.stderr).ends_with(&format!("sectd: {why}\n")), "{}", text(&by_hand.stderr));

    let manager = Manager::new(&place);
    let mut command = place.sectd();
    manager.watch(command.env("NOTIFY_SOCKET", place.path("notify")));
    let daemon = Daemon::start(&mut command);
    let said = manager.hear_until(&format!("STATUS=fault: {why}"));
    assert_eq!(said.first().map(String::as_str), Some("READY=1"));
    let display = fs::read_to_string(place.path("run/display")).expect("shown");
    assert_eq!(display, "FAULT 2 outlet  \nunplug the load \n");
    manager.hear_for_a_while("WATCHDOG=1");
    assert!(!place.path("run/radio.sock").exists() && !place.path("run/powered").exists());
    daemon.ends_well(Signal::TERM);
}

#[test]
fn an_outlet_that_opens_late_is_taken_without_a_restart() {
    let place = place("");
    DirBuilder::new().mode(0o700).create(place.path("run")).expect("made");
    fs::write(place.path("run/outlet"), "neither\n").expect("written");
    let manager = Manager::new(&place);
    let daemon = Daemon::start(place.sectd().env("NOTIFY_SOCKET", place.path("notify")));
    manager.hear_until("STATUS=fault: could not open the outlet: the outlet's file says neither on nor off");
    fs::write(place.path("run/outlet"), "off\n").expect("mended");
    manager.hear_until(WAITING);
    assert!(daemon.terminate().success());
}

#[test]
fn settings_are_checked_by_the_daemon_that_will_read_them() {
    let check = |place: &Place| -> Output { place.sectd().arg("check-config").output().expect("runs") };
    let good = check(&place(""));
    assert_eq!((good.status.code(), text(&good.stdout), text(&good.stderr)), (Some(0), "ok\n".into(), String::new()));

    let bad = place("interfaces = \"lo\"\n");
    let found = check(&bad);
    let expected = format!(
        "sectd: {}:9:1: unknown field `interfaces`, expected `enabled` or `interface`\n",
        bad.path("sectd.toml").display()
    );
    assert_eq!((found.status.code(), text(&found.stdout), text(&found.stderr)), (Some(2), String::new(), expected));
    let run = bad.sectd().output().expect("runs");
    assert_eq!(run.status.code(), Some(2));
    assert!(!bad.path("state").exists());
}

#[test]
fn the_passcode_is_not_drawn_into_the_journal() {
    let place = place("[display]\ndriver = \"terminal\"\n");
    // systemd names the journal's end of standard error by device and inode.
    let journal = File::create(place.path("journal")).expect("made");
    let metadata = journal.metadata().expect("there");
    let stream = format!("{}:{}", metadata.dev(), metadata.ino());
    let status = place.sectd().env("JOURNAL_STREAM", stream).stderr(journal).status().expect("runs");
    assert_eq!(status.code(), Some(1));
    let said = fs::read_to_string(place.path("journal")).expect("written");
    assert!(said.contains("set it to \"file\""), "{said}");
    assert!(!said.contains('┌'), "{said}");
    assert!(!place.path("state").exists());
}
