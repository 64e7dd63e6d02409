//! Somebody who reads everything that the daemon leaves lying about.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64ct::{Base64, Base64Unpadded, Base64UrlUnpadded, Encoding as _};
use rusqlite::Connection;
use sect::controller::keyring::Keyring;
use sect::proto::keys::pairing_psk;
use sect::proto::pairing::binding::Binding;

use crate::support::cloud::Cloud;
use crate::support::line::{self, Line};
use crate::support::{Done, HOME_PASSPHRASE, Person, Plug, SOON, files};

/// Every way to write down a key that somebody might think of.
fn spellings(name: &str, key: &[u8]) -> Vec<(String, Vec<u8>)> {
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let debug = format!("{key:?}");
    [
        key.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        Base64::encode_string(key).into_bytes(),
        Base64Unpadded::encode_string(key).into_bytes(),
        Base64UrlUnpadded::encode_string(key).into_bytes(),
        debug.trim_matches(['[', ']']).as_bytes().to_vec(),
    ]
    .into_iter()
    .map(|spelling| (name.to_owned(), spelling))
    .collect()
}

fn text(name: &str, secret: &str) -> Vec<(String, Vec<u8>)> {
    vec![(name.to_owned(), secret.as_bytes().to_vec())]
}

/// What opens a pairing.
fn of_passcode(passcode: &str) -> Vec<(String, Vec<u8>)> {
    let psk = pairing_psk(&passcode.parse().expect("a passcode"));
    [text("the passcode", passcode), spellings("the PSK for pairing", psk.expose())].concat()
}

/// What thing and controller share.
fn of_binding(binding: &Binding) -> Vec<(String, Vec<u8>)> {
    let keys = binding.keys();
    let mut all = [
        text("T_token", binding.topic.as_str()),
        text("Ctlr-U", binding.credentials.user.expose()),
        text("Ctlr-P", binding.credentials.password.expose()),
        text("the Wi-Fi password", HOME_PASSPHRASE),
        spellings("the master key", binding.master.expose()),
        spellings("the PSK", keys.psk.expose()),
        spellings("the controller's own key", binding.key.expose()),
    ]
    .concat();
    for (name, key) in [("K_c2t", &keys.c2t), ("K_t2c", &keys.t2c)] {
        // It is two keys, and either is enough to look for.
        let (mac, enc) = key.expose().split_at(32);
        all.extend([spellings(&format!("{name}, MAC"), mac), spellings(&format!("{name}, ENC"), enc)].concat());
    }
    all
}

/// From a copy of the store: the daemon has it open.
fn ca_key(plug: &Plug) -> Vec<u8> {
    let copy = tempfile::tempdir().expect("a folder");
    for name in ["thing.db", "thing.db-wal"] {
        fs::copy(plug.state().join(name), copy.path().join(name)).expect("copied");
    }
    let database = Connection::open(copy.path().join("thing.db")).expect("a store");
    let key: Vec<u8> = database.query_row("SELECT ca_key FROM identity", [], |row| row.get(0)).expect("a key");
    assert_eq!(key.len(), 32);
    key
}

fn expect_none(place: &str, content: &[u8], secrets: &[(String, Vec<u8>)]) {
    for (name, secret) in secrets {
        let found = content.windows(secret.len()).any(|window| window == secret);
        assert!(!found, "{name} is in {place}");
    }
}

#[tokio::test]
async fn a_plug_that_logs_everything_logs_no_secret_and_leaves_none_lying_about() {
    let mut plug = Plug::new();
    plug.log_by("trace");
    plug.power_on();
    let (_, passcode) = plug.wait_for_passcode();
    let owner = line::claim(&plug).await;
    let mut line = Line::open(&plug, &owner).await.expect("a session");
    for at in 0..20 {
        line.switch(at % 2 == 0).await;
    }

    let passcode = of_passcode(&passcode);
    let ca_key = spellings("the key of the thing's CA", &ca_key(&plug));
    let secrets = [passcode.clone(), of_binding(&owner), ca_key].concat();

    let log = plug.log_text();
    assert!(log.contains("TRACE"), "it logs everything");
    expect_none("the log", log.as_bytes(), &secrets);
    for name in ["cmdline", "environ"] {
        let content = fs::read(format!("/proc/{}/{name}", plug.pid())).expect("it runs");
        expect_none(name, &content, &secrets);
    }

    // Only the store holds what must be kept, and the passcode need not be.
    let regular = |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    for file in files(&plug.runtime()).into_iter().filter(regular) {
        expect_none(&file.display().to_string(), &fs::read(&file).expect("readable"), &secrets);
    }
    let state = files(&plug.state());
    assert!(state.len() >= 2, "{state:?}");
    for file in state {
        let metadata = fs::metadata(&file).expect("there");
        assert_eq!(metadata.mode() & 0o7777, 0o600, "{}", file.display());
        expect_none(&file.display().to_string(), &fs::read(&file).expect("readable"), &passcode);
    }
    for folder in [plug.state(), plug.runtime()] {
        assert_eq!(fs::metadata(&folder).expect("there").mode() & 0o7777, 0o700, "{}", folder.display());
    }
    let shown = plug.display().expect("a display").concat();
    expect_none("the display", shown.as_bytes(), &passcode);
}

#[tokio::test]
async fn a_plug_with_a_cloud_server_logs_no_secret_there_either() {
    let cloud = Cloud::running();
    let mut plug = Plug::new();
    cloud.provision(&plug);
    plug.log_by("trace,rumqttc=trace");
    plug.power_on();
    let (_, passcode) = plug.wait_for_passcode();
    let owner = line::claim(&plug).await;
    let started = Instant::now();
    // Its registration has to be in force first.
    loop {
        if let Ok(mut far) = Line::open_remote(&cloud, &owner).await
            && far.try_status(Duration::from_millis(200)).await.is_some()
        {
            far.switch(true).await;
            break;
        }
        assert!(started.elapsed() < SOON, "the plug does not answer through the cloud server");
    }
    let ca_key = spellings("the key of the thing's CA", &ca_key(&plug));
    let secrets = [of_passcode(&passcode), of_binding(&owner), ca_key].concat();
    expect_none("the plug's log", plug.log_text().as_bytes(), &secrets);
    // It has to know the topic, and logs neither that nor who wrote there.
    expect_none("the cloud server's log", cloud.log_text().as_bytes(), &secrets);
}

#[test]
fn a_controller_that_logs_everything_logs_no_secret() {
    let (plug, mut ana) = (Plug::unclaimed(), Person::new());
    let (_, passcode) = plug.wait_for_passcode();
    ana.log_by("trace,rumqttc=trace");
    let mut said = Vec::new();
    let mut add = |what: &str, done: Done| {
        assert_eq!(done.code, 0, "{what}: {}", done.stderr);
        assert!(done.stderr.contains("TRACE") || done.stderr.contains("DEBUG"), "{what} logs: {}", done.stderr);
        said.extend([done.stdout, done.stderr].concat().into_bytes());
    };
    add("pair", ana.pair(&plug));
    for command in [&["status"][..], &["on"], &["--json", "off"], &["toggle"], &["-vv", "status"]] {
        add(command[0], ana.sect_at(&plug, command));
    }
    let contents = Keyring::at(ana.keyring()).and_then(|keyring| keyring.contents()).expect("a keyring");
    let [entry] = &contents.entries[..] else { panic!("one plug: {contents:?}") };
    let secrets = [of_passcode(&passcode), of_binding(&entry.binding)].concat();
    expect_none("the output of sect", &said, &secrets);
}

/// A crash leaves no copy of the memory: not in a file, and not at a program that collects them.
#[tokio::test]
async fn a_crash_leaves_no_core_dump() {
    let mut plug = Plug::unclaimed();
    let _ = line::claim(&plug).await;
    expect_no_core_dump(plug.pid());
    let status = plug.crash();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}

#[test]
fn a_crash_of_a_controller_or_a_cloud_server_leaves_no_core_dump() {
    expect_no_core_dump(Cloud::running().pid());
    let (plug, ana) = Plug::claimed();
    let mut watch = ana.watch(&plug);
    watch.line();
    expect_no_core_dump(watch.pid());
}

fn expect_no_core_dump(pid: u32) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).expect("proc(5)");
    // Soft and hard; 0 where it was that before.
    let bytes: Vec<&str> = line.split_whitespace().take(2).collect();
    assert!(bytes == ["1", "1"] || bytes == ["0", "0"], "{line}");
}

#[tokio::test]
async fn everything_in_the_runtime_folder_is_its_owners_alone() {
    let plug = Plug::unclaimed();
    for name in ["display", "button", "radio.sock", "routers"] {
        assert_eq!(fs::metadata(plug.runtime().join(name)).expect("there").mode() & 0o7777, 0o600, "{name}");
    }
    // Whether the load has power is no secret, and for others it is only to be read.
    assert_eq!(fs::metadata(plug.runtime().join("outlet")).expect("there").mode() & 0o022, 0);
    assert_eq!(fs::metadata(plug.runtime()).expect("there").mode() & 0o7777, 0o700);
}
