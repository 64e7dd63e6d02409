//! Somebody who had the state folder in hand before the daemon starts.

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use sect::proto::pairing::binding::Binding;

use crate::support::line::{self, Line};
use crate::support::{Plug, files, wait_for};

/// A claimed plug without power.
async fn switched_off() -> (Plug, Binding) {
    let mut plug = Plug::unclaimed();
    let owner = line::claim(&plug).await;
    let (ended, _) = plug.terminate();
    assert!(ended.success());
    (plug, owner)
}

/// Starts a daemon that is to fail, and waits until it has.
fn failed_start(plug: &Plug) -> Output {
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_sectd"))
        .arg("--config")
        .arg(plug.config())
        .env_remove("SECT_LOG")
        .env_remove("NOTIFY_SOCKET")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sectd starts");
    let started = Instant::now();
    while daemon.try_wait().expect("its own child").is_none() {
        if started.elapsed() > Duration::from_secs(5) {
            daemon.kill().expect("its own child");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    daemon.wait_with_output().expect("its own child")
}

fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("sectd: ")).collect();
    assert_eq!(lines.len(), 1, "one line that says why: {text}");
    lines[0].to_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

/// Nobody owns it, nobody can, and nobody is let in.
fn assert_stands_by(plug: &mut Plug) {
    plug.wait_for_display("a fault", |[first, second]| format!("{first}{second}").contains("FAULT").then_some(()));
    assert!(plug.is_running());
    assert!(TcpStream::connect(plug.home()).is_err() && TcpStream::connect(plug.access_point()).is_err());
    assert!(UnixStream::connect(plug.radio()).is_err(), "there is no access point");
    std::thread::sleep(Duration::from_millis(300));
    let [first, second] = plug.display().expect("a display");
    assert!(!first.contains("SecT-") && !second.contains("SecT-"));
}

#[tokio::test]
async fn loose_modes_are_made_tight_at_the_next_start() {
    let mut plug = Plug::unclaimed();
    let owner = line::claim(&plug).await;
    plug.power_cut();
    fs::set_permissions(plug.state(), Permissions::from_mode(0o777)).expect("set");
    let left = files(&plug.state());
    assert_eq!(left.len(), 3, "the store, its journal and the mark: {left:?}");
    for file in left {
        fs::set_permissions(file, Permissions::from_mode(0o666)).expect("set");
    }
    plug.power_on();
    plug.wait_until_online();
    Line::open(&plug, &owner).await.expect("a session").switch(true).await;
    assert_eq!(mode(&plug.state()), 0o700);
    for file in files(&plug.state()) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_damaged_store_is_left_as_it_is_and_opens_nothing() {
    let (mut plug, owner) = switched_off().await;
    let path = plug.state().join("thing.db");
    let sound = fs::read(&path).expect("the store");
    let mut flipped = sound.clone();
    for byte in &mut flipped[4096..4700] {
        *byte ^= 0x55;
    }
    for damaged in [sound[..sound.len() / 2].to_vec(), sound[..700].to_vec(), vec![0x5a; sound.len()], flipped] {
        fs::write(&path, &damaged).expect("written");
        plug.power_on();
        assert_stands_by(&mut plug);
        assert!(plug.log_text().contains("is damaged"), "and the log says why");
        let (ended, _) = plug.terminate();
        assert!(ended.success());
        assert!(fs::read(&path).expect("the store") == damaged, "nothing was overwritten");
    }
    // With the backup it is as it was.
    fs::write(&path, &sound).expect("written");
    plug.power_on();
    plug.wait_until_online();
    Line::open(&plug, &owner).await.expect("a session").switch(true).await;
}

#[tokio::test]
async fn a_store_of_zero_bytes_does_not_make_a_claimed_plug_claimable() {
    let (mut plug, _) = switched_off().await;
    fs::write(plug.state().join("thing.db"), b"").expect("written");
    plug.power_on();
    assert_stands_by(&mut plug);
}

#[tokio::test]
async fn a_deleted_store_does_not_make_a_claimed_plug_claimable() {
    let (mut plug, _) = switched_off().await;
    for file in files(&plug.state()) {
        if file.file_name().is_some_and(|name| name != "claimed") {
            fs::remove_file(file).expect("removed");
        }
    }
    for _ in 0..3 {
        plug.power_on();
        assert_stands_by(&mut plug);
        plug.terminate();
    }
    assert_eq!(files(&plug.state()).len(), 1, "the mark, and nothing new");
}

#[tokio::test]
async fn a_deleted_mark_comes_back_and_the_plug_keeps_its_owner() {
    let (mut plug, owner) = switched_off().await;
    let mark = plug.state().join("claimed");
    fs::remove_file(&mark).expect("it was there");
    plug.power_on();
    plug.wait_until_online();
    Line::open(&plug, &owner).await.expect("a session").switch(true).await;
    assert_eq!(mode(&mark), 0o600);
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_used_ends_the_start_with_a_reason() {
    let mut plug = Plug::new();
    // A file in its place.
    fs::write(plug.state(), b"in the way").expect("written");
    let said = complaint(&failed_start(&plug));
    assert!(said.contains("cannot use the state folder"), "{said}");
    assert_eq!(fs::read(plug.state()).expect("there"), b"in the way");
    fs::remove_file(plug.state()).expect("removed");

    // A place where even root writes nothing.
    let settings = fs::read_to_string(plug.config()).expect("settings");
    let read_only = settings.replacen(&plug.state().display().to_string(), "/proc/sect-state", 1);
    fs::write(plug.config(), read_only).expect("written");
    let said = complaint(&failed_start(&plug));
    assert!(said.contains("/proc/sect-state"), "{said}");
    fs::write(plug.config(), settings).expect("written");

    // A journal that cannot be written.
    plug.power_on();
    plug.wait_for_passcode();
    plug.terminate();
    let journal = plug.state().join("thing.db-wal");
    let _ = fs::remove_file(&journal);
    fs::create_dir(&journal).expect("made");
    let before = fs::read(plug.state().join("thing.db")).expect("the store");
    let said = complaint(&failed_start(&plug));
    assert!(said.contains("the store"), "{said}");
    assert!(fs::read(plug.state().join("thing.db")).expect("the store") == before);
}

#[tokio::test]
async fn a_runtime_folder_that_others_can_write_to_ends_the_start_with_a_reason() {
    let mut plug = Plug::new();
    fs::create_dir(plug.runtime()).expect("made");
    fs::set_permissions(plug.runtime(), Permissions::from_mode(0o1777)).expect("set");
    let said = complaint(&failed_start(&plug));
    assert!(said.contains("runtime folder") && said.contains("others can write to it"), "{said}");
    assert!(files(&plug.runtime()).is_empty() && !plug.state().exists(), "nothing was begun");
    // As systemd makes it.
    fs::set_permissions(plug.runtime(), Permissions::from_mode(0o755)).expect("set");
    plug.power_on();
    plug.wait_for_passcode();
}

#[tokio::test]
async fn a_second_daemon_on_the_same_folders_goes_away_and_the_first_stays() {
    let plug = Plug::unclaimed();
    let owner = line::claim(&plug).await;
    let mut line = Line::open(&plug, &owner).await.expect("a session");
    let display = plug.display();
    for _ in 0..3 {
        let said = complaint(&failed_start(&plug));
        assert!(said.contains("running already"), "{said}");
        // It has not touched what the first one shows, listens to and is pressed by.
        assert_eq!(plug.display(), display);
    }
    line.switch(true).await;
    assert!(plug.outlet_is_on());
    UnixStream::connect(plug.radio()).expect("the first one's radio");
    plug.press("short");
    wait_for("the press", || (!plug.outlet_is_on()).then_some(()));
}
