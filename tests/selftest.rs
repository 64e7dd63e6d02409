//! `sectd selftest` as a process: simulated back ends, boards where something is missing, a daemon that runs.

#[path = "support/place.rs"]
mod place;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use place::{Place, text};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A board at home in a network of its own.
struct Board(Place);

impl Board {
    fn new(more: &str) -> Self {
        Self::with_state("state", more)
    }

    /// `state` is the state folder, in the board's own folder or anywhere.
    fn with_state(state: &str, more: &str) -> Self {
        let home = "[[wifi.networks]]\nssid = \"Home\"\npassphrase = \"correct horse\"\naddress = \"127.0.10.2\"\n";
        Self(Place::new(10, state, &format!("{home}{more}")))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn sectd(&self) -> Command {
        let mut command = self.0.sectd();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn selftest(&self, line: &str) -> Output {
        self.sectd().arg("selftest").args(line.split(' ')).output().expect("runs")
    }

    /// What a test rig reads.
    fn judged(&self, line: &str) -> (Option<i32>, Value) {
        let output = self.selftest(&format!("{line} --json"));
        let report = serde_json::from_slice(&output.stdout);
        let report = report.unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
        (output.status.code(), report)
    }

    /// The same, with answers on standard input.
    fn answered(&self, line: &str, answers: &str) -> (Option<i32>, String, String) {
        let mut command = self.sectd();
        command.arg("selftest").args(line.split(' ')).stdin(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        child.stdin.take().expect("piped").write_all(answers.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("runs");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// A daemon that serves; the display says so.
    fn daemon(&self) -> Daemon {
        let daemon = Daemon(self.sectd().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts"));
        wait_for("a passcode", || {
            fs::read_to_string(self.path("run/display")).is_ok_and(|text| text.contains("SecT-"))
        });
        daemon
    }

    fn everything(&self, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return BTreeMap::new() };
        let paths = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file());
        paths.map(|path| (path.clone(), fs::read(path).expect("readable"))).collect()
    }
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_there() {
        assert!(Instant::now() < until, "no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `step: passed` of the only part.
fn steps(report: &Value) -> Vec<(String, bool)> {
    let parts = report["parts"].as_array().expect("a list");
    let steps = parts.iter().flat_map(|part| part["steps"].as_array().expect("a list"));
    steps.map(|step| (step["step"].as_str().expect("a name").to_owned(), step["passed"] == true)).collect()
}

fn failed<'a>(report: &'a Value, step: &str) -> (&'a str, &'a str) {
    let parts = report["parts"].as_array().expect("a list");
    let mut steps = parts.iter().flat_map(|part| part["steps"].as_array().expect("a list"));
    let step = steps.find(|found| found["step"] == step).unwrap_or_else(|| panic!("no {step} in {report}"));
    assert_eq!(step["passed"], false, "{report}");
    (step["detail"].as_str().expect("a detail"), step["todo"].as_str().expect("what to do"))
}

fn all_passed(names: &[&str]) -> Vec<(String, bool)> {
    names.iter().map(|name| ((*name).to_owned(), true)).collect()
}

const OUTLET: &str = "outlet --times 2 --pause-ms 10";

#[test]
fn the_outlet_is_switched_and_gets_back_what_it_had() {
    for before in ["off\n", "on \n"] {
        let board = Board::new("");
        fs::create_dir(board.path("run")).expect("made");
        fs::set_permissions(board.path("run"), fs::Permissions::from_mode(0o700)).expect("mine");
        fs::write(board.path("run/outlet"), before).expect("written");
        let (code, report) = board.judged(OUTLET);
        assert_eq!(code, Some(0), "{report}");
        assert_eq!(steps(&report), all_passed(&["opens", "on", "kept", "off", "many times", "as it was"]));
        assert_eq!(report["passed"], true);
        assert!(report["parts"][0]["steps"][1].get("seen").is_none(), "nobody was asked: {report}");
        assert_eq!(fs::read_to_string(board.path("run/outlet")).expect("there"), before);
        assert!(!board.path("state").exists(), "the outlet's test leaves no store");
        assert!(!board.path("run/powered").exists(), "a power-up is still ahead");
    }
}

#[test]
fn a_lamp_that_stays_dark_fails_although_the_line_followed() {
    let board = Board::new("");
    let (code, said, _) = board.answered(OUTLET, "\nwhat?\nn\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("12 V lamp"), "{said}");
    assert_eq!(said.matches("Is the lamp on? [y/n]").count(), 2, "{said}");
    assert!(said.contains("FAIL  on: set and read back (not seen)\n        do: nothing clicks"), "{said}");
    assert!(said.ends_with("pass  as it was: it is off again\nfailed: outlet\n"), "{said}");

    let (code, said, _) = board.answered(OUTLET, "\ny\ny\nn\ny\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("FAIL  off: set and read back (not seen)\n        do: it is on when it should be off"),
        "{said}"
    );

    let (code, said, _) = board.answered(OUTLET, "\ny\ny\ny\nyes\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("passed\n"), "{said}");
}

#[test]
fn with_nobody_to_answer_it_says_so_and_puts_the_outlet_back() {
    let board = Board::new("");
    let (code, said, error) = board.answered(OUTLET, "\n");
    assert_eq!(code, Some(2), "{said}");
    assert!(error.contains("ask nobody with --yes"), "{error}");
    assert_eq!(fs::read_to_string(board.path("run/outlet")).expect("there"), "off\n");
    assert_eq!(board.selftest("outlet --yes --times 1 --pause-ms 10").status.code(), Some(0));
}

#[test]
fn interrupted_it_puts_the_outlet_back() {
    // Ctrl-C, `kill`, and a terminal that is closed.
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let board = Board::new("");
        let mut command = board.0.sectd_at_a_terminal();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.args(["selftest", "outlet", "--yes", "--pause-ms", "20000"]).spawn().expect("starts");
        wait_for("lamp", || fs::read_to_string(board.path("run/outlet")).is_ok_and(|text| text == "on \n"));
        kill_process(Pid::from_child(&child), signal).expect("a child");
        assert_eq!(child.wait().expect("a child").code(), Some(130), "{signal:?}");
        assert_eq!(fs::read_to_string(board.path("run/outlet")).expect("there"), "off\n", "{signal:?}");
    }
}

#[test]
fn it_refuses_while_the_daemon_runs_and_the_daemon_notices_nothing() {
    let board = Board::new("");
    let daemon = board.daemon();
    let outlet = fs::read(board.path("run/outlet")).expect("there");
    for part in ["outlet", "button", "display", "wifi", "store", "all"] {
        let output = board.selftest(&format!("{part} --yes"));
        assert_eq!(output.status.code(), Some(3), "{part}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
        assert!(text(&output.stderr).contains("sudo systemctl stop sectd"), "{}", text(&output.stderr));
    }
    assert_eq!(fs::read(board.path("run/outlet")).expect("there"), outlet);
    assert!(board.path("run/button").exists() && board.path("run/radio.sock").exists());
    drop(daemon);
    // Killed, it has left what a daemon leaves; nothing of that is changed.
    let before = board.everything("state");
    assert_eq!(board.judged("store").0, Some(0));
    assert_eq!(board.everything("state"), before);
}

#[test]
fn it_refuses_beside_a_daemon_that_has_lost_its_store_and_stands_by() {
    let board = Board::new("");
    fs::create_dir(board.path("state")).expect("made");
    fs::write(board.path("state/claimed"), "").expect("written");
    let daemon = Daemon(board.sectd().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts"));
    let fault = || fs::read_to_string(board.path("run/display")).is_ok_and(|text| text.starts_with("FAULT 1"));
    wait_for("fault", fault);
    for part in ["display", "store", "all"] {
        let output = board.selftest(&format!("{part} --yes"));
        assert_eq!(output.status.code(), Some(3), "{part}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("sudo systemctl stop sectd"), "{}", text(&output.stderr));
    }
    assert!(fault(), "the display still shows it");
    drop(daemon);
    let (code, report) = board.judged("store");
    assert_eq!(code, Some(1), "{report}");
    assert!(failed(&report, "sound").0.contains("restore it from a backup"), "{report}");
}

#[test]
fn the_store_is_measured_and_left_as_it_was() {
    let board = Board::new("");
    let (code, report) = board.judged("store");
    assert_eq!((code, steps(&report)), (Some(0), all_passed(&["sound", "writes", "room"])), "{report}");
    assert!(!board.path("state").exists(), "there was none");

    assert!(board.sectd().arg("identity").status().expect("runs").success());
    let before = board.everything("state");
    let (code, report) = board.judged("store");
    assert_eq!((code, steps(&report)), (Some(0), all_passed(&["sound", "modes", "writes", "room"])), "{report}");
    assert_eq!(board.everything("state"), before);

    fs::set_permissions(board.path("state/thing.db"), fs::Permissions::from_mode(0o644)).expect("mine");
    let (code, report) = board.judged("store");
    assert_eq!(code, Some(1));
    assert!(failed(&report, "modes").0.contains("thing.db (644"), "{report}");
    assert!(failed(&report, "modes").1.starts_with("chmod -R go= "), "{report}");

    let database = board.path("state/thing.db");
    let mut bytes = fs::read(&database).expect("there");
    bytes[4096..4200].fill(0xa5);
    fs::write(&database, &bytes).expect("damaged");
    let (code, report) = board.judged("store");
    assert_eq!(code, Some(1));
    assert!(failed(&report, "sound").0.contains("damaged"), "{report}");
    assert_eq!(fs::read(&database).expect("there"), bytes);
    // A damaged store keeps nobody from looking at the outlet.
    assert_eq!(board.judged(OUTLET).0, Some(0));
}

#[test]
fn a_folder_that_cannot_be_written_fails_with_its_reason() {
    // Not even root makes a folder there.
    let board = Board::with_state("/sys/sect", "");
    let (code, report) = board.judged("store");
    assert_eq!(code, Some(1), "{report}");
    assert!(failed(&report, "writes").0.starts_with("/sys/sect: "), "{report}");
    let board = Board::with_state("state", "[outlet]\npath = \"/sys/outlet\"\n");
    let (code, report) = board.judged(OUTLET);
    assert_eq!(code, Some(1), "{report}");
    assert!(failed(&report, "opens").1.contains("`on` or `off`"), "{report}");
}

#[test]
fn a_chip_that_is_missing_is_named_with_what_to_do() {
    let chip = "driver = \"gpiocdev\"\nchip = \"/dev/gpiochip99\"\n";
    let board = Board::new(&format!(
        "[outlet]\n{chip}[button]\n{chip}[display]\ndriver = \"lcd-gpiocdev\"\nchip = \"/dev/gpiochip99\"\n"
    ));
    for (part, step) in [("outlet", "opens"), ("button", "opens"), ("display", "blocks")] {
        let (code, report) = board.judged(part);
        assert_eq!(code, Some(1), "{report}");
        let (detail, todo) = failed(&report, step);
        assert!(detail.contains("/dev/gpiochip99"), "{detail}");
        assert!(todo.contains("ls /dev/gpiochip*"), "{todo}");
    }
}

#[test]
fn a_bus_that_is_not_enabled_says_which_line_config_txt_wants() {
    let board = Board::new("[display]\ndriver = \"lcd-i2c\"\nbus = 99\n");
    let (code, report) = board.judged("display --show-ms 0");
    assert_eq!(code, Some(1), "{report}");
    let (detail, todo) = failed(&report, "blocks");
    assert!(detail.contains("/dev/i2c-99"), "{detail}");
    assert!(todo.contains("dtparam=i2c_arm=on"), "{todo}");
    // Nor does it stop the plug.
    let mut daemon = board.sectd().stderr(Stdio::null()).env("SECT_LOG", "off").spawn().map(Daemon).expect("starts");
    wait_for("access point", || board.path("run/radio.sock").exists() && board.path("run/powered").exists());
    assert!(daemon.0.try_wait().expect("a child").is_none());
}

#[test]
fn the_display_shows_blocks_characters_and_screens() {
    let board = Board::new("");
    let (code, report) = board.judged("display --show-ms 0");
    assert_eq!((code, steps(&report)), (Some(0), all_passed(&["blocks", "characters", "screens"])), "{report}");
    assert_eq!(fs::read_to_string(board.path("run/display")).expect("shown").trim(), "");
    let terminal = Board::new("[display]\ndriver = \"terminal\"\n");
    let output = terminal.selftest("display --show-ms 0 --yes");
    let shown = text(&output.stderr);
    for line in ["│################│", "│ABCDEFGHIJKLMNO", "│SecT-4F7K  10:00│", "│FAULT 3 Wi-Fi   │"] {
        let line = if line.contains("ABC") { "ABCDEFGHIJKLMNO" } else { line };
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let (code, said, _) = board.answered("display --show-ms 0", "\nn\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("contrast screw"), "{said}");
}

#[test]
fn the_button_is_waited_for_and_not_for_ever() {
    let board = Board::new("");
    let begun = Instant::now();
    let (code, report) = board.judged("button --timeout-s 1");
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(failed(&report, "press").0, "none came");
    assert!(begun.elapsed() >= Duration::from_secs(1));

    let mut child = board.sectd().args(["selftest", "button", "--yes"]).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let asked = lines.by_ref().map(|line| line.expect("UTF-8")).find(|line| line.contains("echo short >"));
    assert!(asked.is_some());
    fs::write(board.path("run/button"), "long\n").expect("pressed");
    let rest: Vec<String> = lines.map(|line| line.expect("UTF-8")).collect();
    assert_eq!(rest, ["  pass  press: a long press; a FIFO does not bounce", "passed"]);
    assert_eq!(child.wait().expect("a child").code(), Some(0));
}

#[test]
fn the_radio_hears_and_lets_a_station_in() {
    let board = Board::new("");
    let (code, report) = board.judged("wifi");
    assert_eq!(
        (code, steps(&report)),
        (Some(0), all_passed(&["opens", "hears", "access point", "station"])),
        "{report}"
    );
    let said = report.to_string();
    assert!(said.contains("Home 100 %") && said.contains("127.0.10.1"), "{said}");
    assert!(!board.path("run/radio.sock").exists());

    fs::remove_dir_all(board.path("run")).expect("mine");
    fs::create_dir_all(board.path("run/radio.sock")).expect("in the way");
    fs::set_permissions(board.path("run"), fs::Permissions::from_mode(0o700)).expect("mine");
    let (code, report) = board.judged("wifi");
    assert_eq!(code, Some(1), "{report}");
    assert!(failed(&report, "opens").1.starts_with("remove what has"), "{report}");
}

#[test]
fn all_of_it_at_once_reports_each_part_and_one_that_fails_keeps_none_from_being_tested() {
    let board = Board::new("");
    let (code, report) = board.judged("all --times 1 --pause-ms 10 --show-ms 0 --timeout-s 1");
    assert_eq!(code, Some(1), "nobody pressed the button: {report}");
    let parts = report["parts"].as_array().expect("a list");
    let found: Vec<_> =
        parts.iter().map(|part| (part["part"].as_str().expect("a name"), part["passed"] == true)).collect();
    assert_eq!(found, [("store", true), ("outlet", true), ("button", false), ("display", true), ("wifi", true)]);
    let output = board.selftest("all --yes --times 1 --pause-ms 10 --show-ms 0 --timeout-s 1");
    assert!(text(&output.stdout).ends_with("failed: button\n"), "{}", text(&output.stdout));
}

#[test]
fn started_by_root_it_goes_on_as_the_daemons_user_with_one_right() {
    const NOBODY: u32 = 65_534;
    let board = Board::new("");
    fs::create_dir(board.path("state")).expect("made");
    // Only root can give a folder away.
    if chown(board.path("state"), Some(NOBODY), Some(NOBODY)).is_err() {
        return;
    }
    fs::set_permissions(board.path("."), fs::Permissions::from_mode(0o755)).expect("mine");
    // To where others can start it.
    fs::copy(env!("CARGO_BIN_EXE_sectd"), board.path("sectd")).expect("copied");
    let mut command = Command::new(board.path("sectd"));
    command.arg("--config").arg(board.path("sectd.toml")).env_remove("SECT_LOG").env_remove("JOURNAL_STREAM");
    command.args(["selftest", "outlet", "--yes", "--pause-ms", "20000"]).stdout(Stdio::null());
    let test = Daemon(command.spawn().expect("starts"));
    wait_for("lamp", || fs::read_to_string(board.path("run/outlet")).is_ok_and(|text| text == "on \n"));
    let status = fs::read_to_string(format!("/proc/{}/status", test.0.id())).expect("it runs");
    let found = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of proc(5)");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let port_67 = "0000000000000400";
    for (name, expected) in [
        ("Uid:", "65534 65534 65534 65534"),
        ("Gid:", "65534 65534 65534 65534"),
        ("CapEff:", port_67),
        ("CapPrm:", port_67),
        ("CapBnd:", port_67),
        ("NoNewPrivs:", "1"),
    ] {
        assert_eq!(found(name), expected, "{name}");
    }
    assert!(!found("Groups:").split(' ').any(|group| group == "0"), "{status}");
    for file in ["run", "run/outlet"] {
        assert_eq!(fs::metadata(board.path(file)).expect("there").uid(), NOBODY, "{file}");
    }
}

#[test]
fn help_says_how_and_what_the_exit_status_means() {
    let board = Board::new("");
    let help = text(&board.selftest("--help").stdout);
    for line in ["sudo sectd selftest all", "CAP_NET_BIND_SERVICE", "3 the daemon runs", "--json", "outlet"] {
        assert!(help.contains(line), "{line}: {help}");
    }
    assert_eq!(board.selftest("heater").status.code(), Some(2));
    assert_eq!(board.selftest("outlet --times 0").status.code(), Some(2));
}
