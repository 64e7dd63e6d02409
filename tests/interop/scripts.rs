//! Controllers in other languages, written from docs/protocol.md alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use sect::proto::pairing::binding::Binding;
use sect::proto::secret::SecretString;
use sect::radio;
use serde_json::{Value, json};

use crate::at_home;
use crate::support::{HOME_ADDRESS, HOME_PASSPHRASE, HOME_SSID, Plug, wait_for};

/// A controller that takes one word a line and answers each with one line of JSON.
struct Script {
    child: Child,
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Script {
    /// Starts `file` of this folder and hands it its settings.
    fn start(program: &str, file: &str, settings: &Value) -> Self {
        let mut child = Command::new(program)
            .arg(format!("{}/tests/interop/{file}", env!("CARGO_MANIFEST_DIR")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut words = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        writeln!(words, "{settings}").expect("it reads");
        Self { child, words, answers }
    }

    /// Says a word, and waits for what the script has to say.
    fn tell(&mut self, word: &str) -> Value {
        writeln!(self.words, "{word}").expect("it reads");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("readable");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{word}: no JSON: {line:?}"))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python with the package `cryptography`; `tests/all` knows which.
fn python() -> String {
    std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// Status, on, off; each is true of the outlet and not just said.
fn drive(script: &mut Script, plug: &Plug) {
    assert_eq!(script.tell("status"), json!({"rc": 0, "on": false, "by": "boot"}));
    // Three in a row: the second and third are fresh by what the first answer has taught.
    for (word, on) in [("on", true), ("off", false), ("on", true)] {
        assert_eq!(script.tell(word), json!({"rc": 0, "on": on, "by": "user"}));
        assert_eq!(plug.outlet_is_on(), on);
    }
    plug.press("short");
    wait_for("the button", || (!plug.outlet_is_on()).then_some(()));
    assert_eq!(script.tell("status"), json!({"rc": 0, "on": false, "by": "button"}));
}

fn settings_of(plug: &Plug, binding: &Binding) -> Value {
    json!({
        "host": HOME_ADDRESS,
        "port": plug.home().port(),
        "thing_id": binding.thing.to_string(),
        "cid": binding.cid.to_string(),
        "topic": binding.topic.as_str(),
        "user": binding.credentials.user.expose(),
        "pass": binding.credentials.password.expose(),
        "master": Base64UrlUnpadded::encode_string(binding.master.expose()),
    })
}

#[test]
#[ignore = "needs mosquitto-clients, python3, nodejs: run tests/all"]
fn a_controller_for_node_asks_and_switches() {
    let (plug, binding) = at_home();
    let mut script = Script::start("node", "controller.mjs", &settings_of(&plug, &binding));
    drive(&mut script, &plug);
}

#[test]
#[ignore = "needs mosquitto-clients, python3, nodejs: run tests/all"]
fn a_controller_in_python_pairs_asks_and_switches() {
    let plug = Plug::unclaimed();
    let (ssid, passcode) = plug.wait_for_passcode();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let password = SecretString::new(passcode.clone());
    let address = runtime.block_on(radio::join_simulated(&plug.radio(), &ssid, &password)).expect("joined");
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record");
    let settings = json!({
        "ap_host": address,
        "home_host": HOME_ADDRESS,
        "port": plug.home().port(),
        // As a person copies it.
        "passcode": format!("{}-{}", passcode[..8].to_lowercase(), &passcode[8..]),
        "home_ssid": HOME_SSID,
        "home_key": HOME_PASSPHRASE,
        "name": "Zoë",
        "record": record,
    });
    let mut script = Script::start(&python(), "controller.py", &settings);
    let paired = script.tell("pair");
    assert_eq!(paired["confirmed"], json!(true), "{paired}");
    let mode = std::fs::metadata(&record).expect("a record").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    plug.wait_until_online();
    drive(&mut script, &plug);
}
