//! The production line: plugs that say who they are, and the script that certifies them.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::factory::{Factory, text};
use crate::judge::{A_CLIENT, common_names, verify};
use crate::support::{Person, Plug};

fn identity(config: &Path, json: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sectd"));
    command.arg("--config").arg(config).arg("identity").env_remove("NOTIFY_SOCKET");
    command.args(json.then_some("--json")).output().expect("sectd runs")
}

#[test]
fn a_plug_says_who_it_is_and_stays_that() {
    let mut plug = Plug::new();
    let first = identity(&plug.config(), false);
    assert_eq!((first.status.code(), text(&first.stderr)), (Some(0), ""));
    let id = text(&first.stdout).strip_suffix('\n').expect("a line").to_owned();
    assert!(id.len() == 16 && id.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&plug.state()), mode(&plug.state().join("thing.db"))), (0o700, 0o600));

    let again = identity(&plug.config(), true);
    assert_eq!(text(&again.stdout), format!("{{\"id\":\"{id}\"}}\n"));

    // The factory's folder is the daemon's, and what it put there harms nothing.
    let factory = Factory::new();
    let state = plug.state();
    let state = state.to_str().expect("text");
    factory.must(&["device", "--authority", "manufacturer", "--id", &id, "--out", state]);
    plug.power_on();
    plug.wait_for_passcode();
    let busy = identity(&plug.config(), false);
    assert_eq!((busy.status.code(), text(&busy.stdout)), (Some(1), ""));
    assert!(text(&busy.stderr).contains("is sectd running already?"), "{}", text(&busy.stderr));

    // The id under which its owner knows it is the one that the factory certified.
    let owner = Person::new();
    assert_eq!(owner.pair(&plug).code, 0);
    plug.wait_until_online();
    assert_eq!(owner.json_at(&plug, &["status"])["id"], id.as_str());
}

#[test]
fn the_factorys_script_makes_plugs_that_say_who_they_are() {
    let factory = Factory::new();
    let script = |count: &str| {
        Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/provisioning/factory.sh"))
            .current_dir(factory.0.path())
            .env("SECTD", env!("CARGO_BIN_EXE_sectd"))
            .env("SECT_CLOUD", env!("CARGO_BIN_EXE_sect-cloud"))
            .args(["--authority", "manufacturer", "--out", "plugs", "--count", count])
            .output()
            .expect("bash runs")
    };
    let first = script("3");
    assert!(first.status.success(), "{}", text(&first.stderr));
    let lines: Vec<(String, String)> = text(&first.stdout)
        .lines()
        .map(|line| line.split_once(' ').map(|(id, plug)| (id.to_owned(), plug.to_owned())).expect("two words"))
        .collect();
    assert_eq!(
        lines.iter().map(|(_, plug)| plug.as_str()).collect::<Vec<_>>(),
        ["plug-0001", "plug-0002", "plug-0003"]
    );
    let authority = factory.certificate("manufacturer/authority.crt");
    for (id, plug) in &lines {
        let certificate = factory.certificate(&format!("plugs/{plug}/state/device.crt"));
        assert_eq!(common_names(&certificate), [format!("CN={id}")]);
        assert_eq!(verify(&certificate, &authority, &A_CLIENT), Ok(()));
        let said = identity(&factory.path(&format!("plugs/{plug}/sectd.toml")), false);
        assert_eq!(text(&said.stdout), format!("{id}\n"));
    }
    let ids: HashSet<_> = lines.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), 3);

    let second = script("4");
    assert!(second.status.success(), "{}", text(&second.stderr));
    assert!(text(&second.stdout).starts_with(text(&first.stdout)), "those that were done stay");
    assert_eq!(text(&second.stdout).lines().count(), 4);

    // A certificate of another plug is seen before it leaves the factory.
    fs::copy(factory.path("plugs/plug-0001/state/device.crt"), factory.path("plugs/plug-0002/state/device.crt"))
        .expect("copied");
    let third = script("4");
    assert_eq!(third.status.code(), Some(1));
    assert!(text(&third.stderr).contains("plug-0002: not its own certificate"), "{}", text(&third.stderr));
}
