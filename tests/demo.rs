//! The README's first command.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
    assert_shows_the_readmes_lines(&told);
}

/// What the README quotes stands in a real story, in this order; what is another in each story is left open.
fn assert_shows_the_readmes_lines(told: &str) {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("the README");
    let (_, quoted) = readme.split_once("```text\nSTEP 1").expect("the README quotes the story");
    let (quoted, _) = quoted.split_once("```").expect("to an end");
    let quoted = format!("STEP 1{quoted}");
    assert!(quoted.lines().count() >= 20, "{quoted}");
    let mut lines = told.lines().map(without_what_changes);
    for line in quoted.lines().map(without_what_changes) {
        assert!(lines.any(|said| said == line), "not told, or not there: {line}\n{told}");
    }
}

/// A line without white space at its ends, and without figures, names of networks, codes and keys.
fn without_what_changes(line: &str) -> String {
    let changes =
        |word: &str| word.contains(|c: char| c.is_ascii_digit()) || word.contains("SecT-") || word.len() >= 16;
    let words = line.split_whitespace().map(|word| if changes(word) { "_" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// A process that a test which fails does not leave behind; the demo takes its own with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.0), Signal::INT);
            let _ = self.0.wait();
        }
    }
}

#[test]
fn a_demo_that_stays_is_driven_from_a_second_terminal_as_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut staying = Command::new(env!("CARGO_BIN_EXE_sect"));
    staying.args(["demo", "--stay"]).env("TMPDIR", folder.path()).stdout(Stdio::piped());
    let mut demo = Running(staying.spawn().expect("it runs"));
    let mut lines = BufReader::new(demo.0.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "In a second terminal:"), "it tells how");
    let told: Vec<_> = lines.by_ref().map_while(|line| line.strip_prefix("    ").map(str::to_owned)).collect();
    let [export, status, toggle, watch, press, look] = told.as_slice() else { panic!("{told:#?}") };

    // As a person would: each line as it stands there.
    let types = |line: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{export}\nexec {line}")]).stdin(Stdio::null());
        shell
    };
    let says = |line: &str| {
        let output = types(line).output().expect("a shell");
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let (on, off) = ("Lamp is on", "Lamp is off");
    let was_on = says(status).contains(on);
    let (then, after) = if was_on { (off, on) } else { (on, off) };
    assert!(says(toggle).contains(then));

    let mut watching = Running(types(watch).stdout(Stdio::piped()).spawn().expect("a shell"));
    let mut seen = BufReader::new(watching.0.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert!(seen.next().is_some_and(|line| line.contains(then)), "the state at first");
    let pressed = Command::new("sh").args(["-c", press]).status().expect("a shell");
    assert!(pressed.success(), "{press}");
    assert!(seen.next().is_some_and(|line| line.contains(after)), "and the press");
    drop(watching);
    // The display is drawn after the event has gone out.
    let (shown, started) = (if was_on { "on" } else { "off" }, Instant::now());
    while !says(look).lines().any(|line| line.trim() == shown) {
        assert!(started.elapsed() < Duration::from_secs(5), "the display: {}", says(look));
    }

    kill_process(Pid::from_child(&demo.0), Signal::INT).expect("sent");
    assert_eq!(demo.0.wait().expect("ended").code(), Some(0));
    assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 0, "all of it is removed");
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
