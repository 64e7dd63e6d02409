//! The real `sect`, as a shell or a script meets it: exit codes, JSON, what goes to which stream.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use tempfile::TempDir;

/// A home of its own; nothing of the user who runs the tests is touched.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn sect(&self, line: &str) -> Output {
        self.sect_with(line, "")
    }

    fn sect_with(&self, line: &str, stdin: &str) -> Output {
        Command::cargo_bin("sect")
            .expect("built")
            .env_clear()
            .env("HOME", self.0.path())
            .env("SECT_INTERFACE", "lo")
            .args(line.split_whitespace())
            .write_stdin(stdin)
            .output()
            .expect("run")
    }

    fn keyring(&self) -> std::path::PathBuf {
        self.0.path().join(".local/share/sect")
    }
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn a_line_that_cannot_be_understood_exits_with_2() {
    let home = Home::new();
    for line in ["", "frobnicate", "on --frobnicate", "--timeout never on", "pair --passcode 7K3QX9M2B4TVHC8D"] {
        let output = home.sect(line);
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""), "{line:?}");
        assert!(!stderr(&output).is_empty(), "{line:?}");
    }
}

#[test]
fn help_and_version_go_to_stdout_and_exit_with_0() {
    let home = Home::new();
    for line in ["--help", "--version", "help pair", "on --help", "watch -h"] {
        let output = home.sect(line);
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{line:?}");
        assert!(!stdout(&output).is_empty(), "{line:?}");
    }
    assert!(stdout(&home.sect("--help")).contains("Exit codes:"));
}

#[test]
fn without_a_plug_every_command_that_needs_one_exits_with_3() {
    let home = Home::new();
    for line in ["status", "on", "off", "toggle", "watch", "forget --yes", "on --device Kitchen", "user list"] {
        let output = home.sect(line);
        assert_eq!((output.status.code(), stdout(&output)), (Some(3), ""), "{line:?}");
        assert_eq!(
            stderr(&output),
            "error: there is no plug in your keyring yet\n  `sect pair` adds one\n",
            "{line:?}"
        );
    }
}

#[test]
fn an_interface_that_does_not_exist_is_a_usage_error_with_its_name() {
    let home = Home::new();
    for line in ["discover --interface nosuch0", "status --interface nosuch0"] {
        let output = home.sect(line);
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""), "{line:?}");
        assert!(stderr(&output).starts_with("error: this computer has no network interface nosuch0\n"), "{output:?}");
    }
    assert_eq!(home.sect("list --interface nosuch0").status.code(), Some(0), "it looks for nothing");
}

#[test]
fn a_file_that_others_can_read_is_not_used_and_not_called_missing() {
    let home = Home::new();
    assert_eq!(home.sect("list").status.code(), Some(0));
    let file = home.keyring().join("161ee259f96fb6d5.json");
    fs::write(&file, "{}").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("set");
    let output = home.sect("status");
    assert_eq!((output.status.code(), stdout(&output)), (Some(3), ""));
    assert_eq!(
        stderr(&output),
        format!(
            "warning: others can read {0} (mode 644): run `chmod 600 {0}`; it is not used until then\n\
             error: no plug in your keyring can be used\n  the warning says what is wrong with its file\n",
            file.display()
        )
    );
}

#[test]
fn the_demo_has_no_json() {
    let output = Home::new().sect("demo --json");
    assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""));
    assert_eq!(
        stderr(&output),
        "{\"error\":{\"exit\":2,\"kind\":\"usage\",\"message\":\"`sect demo` tells a story, and has none in JSON\",\
         \"next\":\"leave --json out\"}}\n"
    );
}

#[test]
fn with_json_failures_are_json_too() {
    let home = Home::new();
    let output = home.sect("status --json");
    assert_eq!((output.status.code(), stdout(&output)), (Some(3), ""));
    assert_eq!(
        stderr(&output),
        "{\"error\":{\"exit\":3,\"kind\":\"not-found\",\"message\":\"there is no plug in your keyring yet\",\
         \"next\":\"`sect pair` adds one\"}}\n"
    );
    let output = home.sect("--json on --frobnicate");
    assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""));
    assert!(
        stderr(&output).starts_with("{\"error\":{\"exit\":2,\"kind\":\"usage\",\"message\":"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_empty_list_is_an_empty_array_or_a_sentence() {
    let home = Home::new();
    let output = home.sect("list --json");
    assert_eq!((output.status.code(), stdout(&output), stderr(&output)), (Some(0), "[]\n", ""));
    let output = home.sect("list");
    assert_eq!(stdout(&output), "There is no plug in your keyring yet; `sect pair` adds one.\n");
}

#[test]
fn the_keyring_is_made_for_its_owner_alone() {
    let home = Home::new();
    assert_eq!(home.sect("list").status.code(), Some(0));
    assert_eq!(mode(&home.keyring()), 0o700);

    fs::set_permissions(home.keyring(), fs::Permissions::from_mode(0o755)).expect("set");
    let output = home.sect("list");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("run `chmod 700 "), "{}", stderr(&output));
}

#[test]
fn a_damaged_file_is_warned_about_and_kept() {
    let home = Home::new();
    home.sect("list");
    let file = home.keyring().join("0123456789abcdef.json");
    fs::write(&file, "{}").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
    let output = home.sect("list --json");
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), "[]\n"));
    assert_eq!(
        stderr(&output),
        format!(
            "{{\"warning\":\"{} is damaged, or was written by another version; it was left as it is\"}}\n",
            file.display()
        )
    );
    assert_eq!(fs::read_to_string(&file).expect("read"), "{}");
}

#[test]
fn pair_does_not_hang_where_nobody_can_be_asked() {
    let home = Home::new();
    let output = home.sect("pair --ssid SecT-7K3Q");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: passcode= in --secrets is missing, and nobody is there"), "{output:?}");

    let output =
        home.sect_with("pair --ssid SecT-7K3Q --secrets -", "passcode=7K3QX9M2B4TVHC8D\nwifi-password=short\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("line 2 of the secrets: a Wi-Fi password has 8 to 63"), "{output:?}");
    assert!(!stderr(&output).contains("short"));
}

#[test]
fn an_invitation_in_the_command_line_is_refused_and_not_repeated() {
    let home = Home::new();
    let text = "SECT1:AEASGRLHRGV433YBENCWPCNLZXXQEAQCAIBAEAQCAAAQEAYEAUDAOEARCIJRIFIWC4MBSGQ3DQOR4HY";
    for line in [format!("accept {text}"), format!("accept {text} --alias Lamp --json")] {
        let output = home.sect(&line);
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""));
        assert!(stderr(&output).contains("an invitation is a secret"), "{output:?}");
        assert!(stderr(&output).contains("`sect accept -`"), "{output:?}");
        assert!(!stderr(&output).contains("AEASG"), "{output:?}");
    }
}

#[test]
fn what_is_no_invitation_is_named_before_anything_is_looked_for() {
    let home = Home::new();
    let output = home.sect_with("accept - --alias Lamp", "https://example.org\n");
    assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""));
    assert!(stderr(&output).starts_with("error: an invitation starts with SECT1:\n"), "{output:?}");
    let output = home.sect("accept --image Cargo.toml --alias Lamp");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("only PNG and JPEG pictures can be read"), "{output:?}");
    assert_eq!(home.sect("accept").status.code(), Some(2), "nobody can be asked");
    let output = home.sect("accept - --remote");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("in the plug's home network"), "{output:?}");
}

#[test]
fn restore_tells_what_is_no_backup_and_asks_nobody() {
    let home = Home::new();
    let output = home.sect_with("restore Cargo.toml --secrets -", "passphrase=correct horse\n");
    assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""));
    assert!(stderr(&output).starts_with("error: this is no backup of `sect`\n"), "{output:?}");
    assert_eq!(home.sect("restore - --secrets -").status.code(), Some(2));
    assert_eq!(home.sect("restore Cargo.toml").status.code(), Some(2));
    let output = home.sect_with("backup new.backup --secrets -", "passphrase=correct horse\n");
    assert_eq!(output.status.code(), Some(3), "an empty keyring");
}

#[test]
fn pair_says_that_the_plug_was_not_reached() {
    let home = Home::new();
    // Bound and closed again: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound").port();
    let output = home.sect_with(
        &format!(
            "pair --ssid SecT-7K3Q --home-ssid Home --name Anna --alias Kitchen --secrets - --address 127.0.0.1:{port}"
        ),
        "passcode=7K3QX9M2B4TVHC8D\nwifi-password=correct horse\n",
    );
    assert_eq!((output.status.code(), stdout(&output)), (Some(3), ""), "{output:?}");
    assert!(stderr(&output).contains("is this computer in the network that the display names?"), "{output:?}");
    assert_eq!(stdout(&home.sect("list --json")), "[]\n");
}

#[test]
fn completions_and_man_pages_come_from_the_command_line_itself() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = home.sect(&format!("completions {shell}"));
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("discover"), "{shell}");
    }
    let folder = home.0.path().join("man1");
    fs::create_dir(&folder).expect("made");
    assert_eq!(home.sect(&format!("man {}", folder.display())).status.code(), Some(0));
    let page = fs::read_to_string(folder.join("sect-pair.1")).expect("written");
    assert!(page.contains("wifi\\-password"), "{page}");
    assert_eq!(home.sect("man /nowhere/at/all").status.code(), Some(1));
}

/// A real `sectd` at the factory setting, on loopback alone.
struct Plug {
    folder: TempDir,
    daemon: Child,
    port: u16,
}

impl Plug {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound").port();
        let root = folder.path().display();
        let config = format!(
            "state-dir = \"{root}/state\"\nruntime-dir = \"{root}/run\"\n\
             [local-server]\nport = {port}\n[announce]\nenabled = false\n\
             [wifi]\nap-address = \"127.0.0.2\"\njoin-delay-ms = 10\n\
             [[wifi.networks]]\nssid = \"Home\"\npassphrase = \"correct horse\"\n"
        );
        let file = folder.path().join("sectd.toml");
        fs::write(&file, config).expect("written");
        let daemon = std::process::Command::new(assert_cmd::cargo::cargo_bin("sectd"))
            .arg("--config")
            .arg(file)
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        Self { folder, daemon, port }
    }

    /// Network name and passcode, once the display shows them.
    fn shown(&self) -> (String, String) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let text = fs::read_to_string(self.folder.path().join("run/display")).unwrap_or_default();
            let mut lines = text.lines().map(str::trim);
            if let (Some(first), Some(code)) = (lines.next(), lines.next())
                && first.starts_with("SecT-")
                && code.len() == 16
            {
                return (first[..9].to_owned(), code.to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the display showed no code");
    }

    fn pair(&self, home: &Home, ssid: &str, code: &str) -> Output {
        let (radio, port) = (self.folder.path().join("run/radio.sock"), self.port);
        home.sect_with(
            &format!(
                "pair --ssid {ssid} --home-ssid Home --name Anna --alias Kitchen --secrets - --simulated-radio {} \
                 --address 127.0.0.2:{port} --home-address 127.0.0.1:{port} --timeout 20",
                radio.display()
            ),
            &format!("passcode={code}\nwifi-password=correct horse\n"),
        )
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[test]
fn a_wrong_code_is_named_and_the_right_one_makes_the_plug_obey() {
    let (home, plug) = (Home::new(), Plug::start());
    let (ssid, code) = plug.shown();

    let wrong = if code == "0000000000000000" { "1111111111111111" } else { "0000000000000000" };
    let output = plug.pair(&home, &ssid, wrong);
    assert_eq!((output.status.code(), stdout(&output)), (Some(6), ""), "{output:?}");
    assert_eq!(
        stderr(&output),
        "error: the code on the display has changed, or was mistyped\n  \
         read it again: name and code change every ten minutes\n"
    );
    assert_eq!(stdout(&home.sect("list --json")), "[]\n");

    let (ssid, code) = plug.shown();
    let output = plug.pair(&home, &ssid, &code);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!stderr(&output).contains(&code) && !stderr(&output).contains("correct horse"), "{output:?}");

    for (command, state) in [("on", "on"), ("off", "off"), ("toggle", "on"), ("status", "on")] {
        let output = home.sect(&format!("{command} --json --address 127.0.0.1:{}", plug.port));
        assert_eq!(output.status.code(), Some(0), "{command}: {output:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
        assert_eq!(
            (&report["name"], &report["state"], &report["who"]),
            (&"Kitchen".into(), &state.into(), &"Anna".into())
        );
        let outlet = fs::read_to_string(plug.folder.path().join("run/outlet")).expect("read");
        assert_eq!(outlet.trim(), state, "{command}");
    }

    assert_eq!(home.sect("forget --yes").status.code(), Some(0));
    assert_eq!(home.sect("on").status.code(), Some(3));
}
