//! Somebody who reads everything that the daemon leaves lying about.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;

use base64ct::{Base64, Base64Unpadded, Base64UrlUnpadded, Encoding as _};

use crate::support::cloud::Cloud;
use crate::support::line::{self, Line};
use crate::support::{HOME_PASSPHRASE, Plug, files};

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

    let keys = owner.keys();
    let passcode = text("the passcode", &passcode);
    let kept: Vec<_> = [
        text("T_token", owner.topic.as_str()),
        text("Ctlr-U", owner.credentials.user.expose()),
        text("Ctlr-P", owner.credentials.password.expose()),
        text("the Wi-Fi password", HOME_PASSPHRASE),
        spellings("the master key", owner.master.expose()),
        spellings("the PSK", keys.psk.expose()),
    ]
    .concat();
    let secrets = [passcode.clone(), kept].concat();

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
    for name in ["display", "button", "radio.sock"] {
        assert_eq!(fs::metadata(plug.runtime().join(name)).expect("there").mode() & 0o7777, 0o600, "{name}");
    }
    // Whether the load has power is no secret, and for others it is only to be read.
    assert_eq!(fs::metadata(plug.runtime().join("outlet")).expect("there").mode() & 0o022, 0);
    assert_eq!(fs::metadata(plug.runtime()).expect("there").mode() & 0o7777, 0o700);
}
