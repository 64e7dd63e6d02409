//! The README's first command.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

#[test]
fn the_demo_plays_to_its_end() {
    let output = Command::new(env!("CARGO_BIN_EXE_sect")).arg("demo").output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "STEP 1 ",
        "STEP 2-8",
        "STEP 10, 11",
        "STEP 12, 13",
        "STEP 8, 9",
        "STEP 14, 15",
        "ATTACK",
        "OUTAGE",
        "STEP 16 ",
        "STEP 17 ",
        "STEP 6, 3 AGAIN",
        "STEP 20 ",
        "All 37 checks held",
    ] {
        assert!(told.contains(part), "{part} is missing in {told}");
    }
}

#[test]
fn ctrl_c_ends_the_demo_and_leaves_no_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_sect"))
        .arg("demo")
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(demo.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("STEP 2-8")), "the plug runs, and somebody pairs it");
    assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1);
    kill_process(Pid::from_child(&demo), Signal::INT).expect("sent");
    assert_eq!(demo.wait().expect("ended").code(), Some(130));
    assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 0);
}
