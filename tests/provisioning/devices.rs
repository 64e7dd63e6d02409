//! Authorities, and the certificates of plugs.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use openssl::nid::Nid;
use openssl::x509::X509PurposeId;
use sect::cloud::provision::folder::Folder;
use serde_json::{Value, json};

use crate::ID;
use crate::factory::{Factory, text};
use crate::judge::{A_CLIENT, Expected, common_names, extension, no_end, verify};

#[test]
fn an_authority_is_for_one_use_and_its_key_is_its_owners_alone() {
    let factory = Factory::new();
    for (folder, name, usage) in [
        ("manufacturer", "CN=Example Plugs", "TLS Web Client Authentication"),
        ("servers", "CN=Example Cloud", "TLS Web Server Authentication"),
    ] {
        let (key, certificate) = (format!("{folder}/authority.key"), format!("{folder}/authority.crt"));
        assert_eq!((factory.mode(folder), factory.mode(&key), factory.mode(&certificate)), (0o700, 0o600, 0o644));
        assert!(factory.read(&key).starts_with(b"-----BEGIN PRIVATE KEY-----\n"), "PKCS#8");
        let (key, certificate) = (factory.key(&key), factory.certificate(&certificate));
        assert!(certificate.public_key().expect("a key").public_eq(&key));
        assert_eq!(key.ec_key().expect("EC").group().curve_name(), Some(Nid::X9_62_PRIME256V1));
        assert_eq!(common_names(&certificate), [name]);
        assert_eq!(extension(&certificate, "Basic Constraints"), "critical CA:TRUE, pathlen:0");
        assert_eq!(extension(&certificate, "Key Usage"), "critical Certificate Sign");
        assert_eq!(extension(&certificate, "Extended Key Usage"), usage);
        assert!(*certificate.not_after() == no_end());
        assert!(certificate.verify(&key).expect("a verdict"), "self-signed");
    }
}

#[test]
fn an_authority_is_never_overwritten() {
    let factory = Factory::new();
    let before = factory.files();
    for command in ["authority", "server-authority"] {
        let why = factory.refused(&[command, "--out", "manufacturer", "--name", "again"]);
        assert!(why.contains("not overwritten"), "{why}");
    }
    // A key without its certificate is as precious.
    fs::remove_file(factory.path("manufacturer/authority.crt")).expect("removed");
    let why = factory.refused(&["authority", "--out", "manufacturer", "--name", "again"]);
    assert!(why.contains("authority.key: is there already and is not overwritten"), "{why}");
    assert_eq!(
        factory.files(),
        before.into_iter().filter(|(path, _)| !path.ends_with("manufacturer/authority.crt")).collect::<Vec<_>>()
    );
}

#[test]
fn a_device_certificate_names_the_thing_is_for_clients_alone_and_has_no_end() {
    let factory = Factory::new();
    let made = factory.json(&["device", "--authority", "manufacturer", "--id", ID, "--out", "state"]);
    assert_eq!(made, [json!({"id": ID, "folder": "state", "made": true})]);
    assert_eq!(
        (factory.mode("state"), factory.mode("state/device.key"), factory.mode("state/device.crt")),
        (0o700, 0o600, 0o644)
    );
    let (key, certificate) = (factory.key("state/device.key"), factory.certificate("state/device.crt"));
    let authority = factory.certificate("manufacturer/authority.crt");
    assert_eq!(verify(&certificate, &authority, &A_CLIENT), Ok(()));
    let as_server = Expected { purpose: X509PurposeId::SSL_SERVER, host: None };
    assert!(verify(&certificate, &authority, &as_server).is_err(), "a plug passed for a server");
    assert!(verify(&certificate, &factory.certificate("servers/authority.crt"), &A_CLIENT).is_err());
    assert_eq!(common_names(&certificate), [format!("CN={ID}")]);
    assert_eq!(extension(&certificate, "Key Usage"), "critical Digital Signature");
    assert_eq!(extension(&certificate, "Extended Key Usage"), "TLS Web Client Authentication");
    assert_eq!(extension(&certificate, "Basic Constraints"), "critical CA:FALSE");
    assert!(*certificate.not_after() == no_end());
    assert!(certificate.public_key().expect("a key").public_eq(&key));
    assert_eq!(key.ec_key().expect("EC").group().curve_name(), Some(Nid::X9_62_PRIME256V1));
}

#[test]
fn a_device_certificate_is_never_overwritten() {
    let factory = Factory::new();
    let device = |id| ["device", "--authority", "manufacturer", "--id", id, "--out", "state"];
    factory.must(&device(ID));
    let before = factory.files();
    assert!(factory.refused(&device(ID)).contains("has its certificate already"));
    let why = factory.refused(&device("00000000000000aa"));
    assert!(why.contains("is the certificate of 0123456789abcdef, not of 00000000000000aa"), "{why}");
    assert_eq!(factory.files(), before);

    factory.must(&["authority", "--out", "other", "--name", "Other Plugs"]);
    let why = factory.refused(&["device", "--authority", "other", "--id", ID, "--out", "state"]);
    assert!(why.contains("signed by another authority"), "{why}");

    // Another plug's key beside it must not pass for done.
    factory.must(&["device", "--authority", "manufacturer", "--id", "00000000000000aa", "--out", "next"]);
    fs::copy(factory.path("next/device.key"), factory.path("state/device.key")).expect("copied");
    assert!(factory.refused(&device(ID)).contains("it is for another key"));
    fs::remove_file(factory.path("state/device.key")).expect("removed");
    assert!(factory.refused(&device(ID)).contains("is there and its key is not"));
}

#[test]
fn fifty_plugs_get_fifty_keys_and_an_interrupted_list_is_finished() {
    let factory = Factory::new();
    let ids: Vec<String> = (0..50_u64).map(|number| format!("{:016x}", number * 0x0123_4567_89ab + 1)).collect();
    let list = format!("{}\n\n", ids.join("\n"));
    let batch = ["device", "--authority", "manufacturer", "--ids", "-", "--out", "plugs", "--json"];
    let made = |made: &dyn Fn(usize) -> bool| -> Vec<Value> {
        let line = |(at, id): (usize, &String)| json!({"id": id, "folder": format!("plugs/{id}"), "made": made(at)});
        ids.iter().enumerate().map(line).collect()
    };
    let answers = |lines: Vec<String>| -> Vec<Value> {
        lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    assert_eq!(answers(factory.must_with(&batch, &list)), made(&|_| true));

    let authority = factory.certificate("manufacturer/authority.crt");
    let (mut keys, mut serials) = (HashSet::new(), HashSet::new());
    for id in &ids {
        let certificate = factory.certificate(&format!("plugs/{id}/device.crt"));
        let key = factory.key(&format!("plugs/{id}/device.key"));
        assert_eq!(verify(&certificate, &authority, &A_CLIENT), Ok(()), "{id}");
        assert_eq!(common_names(&certificate), [format!("CN={id}")]);
        assert!(certificate.public_key().expect("a key").public_eq(&key), "{id}");
        assert_eq!(factory.mode(&format!("plugs/{id}/device.key")), 0o600);
        keys.insert(key.public_key_to_der().expect("DER"));
        serials.insert(certificate.serial_number().to_bn().expect("a number").to_vec());
    }
    assert_eq!((keys.len(), serials.len()), (50, 50));

    // As if it had been cut off between the two files of the 41st and before the next.
    let before = factory.files();
    fs::remove_file(factory.path(&format!("plugs/{}/device.crt", ids[40]))).expect("removed");
    fs::write(factory.path(&format!("plugs/{}/.device.crt.new", ids[40])), "half").expect("written");
    // As if it had been cut off when a key had both names, the last and the one before it.
    let first = factory.path(&format!("plugs/{}", ids[0]));
    fs::hard_link(first.join("device.key"), first.join(".device.key.new")).expect("linked");
    for id in &ids[41..] {
        fs::remove_dir_all(factory.path(&format!("plugs/{id}"))).expect("removed");
    }
    assert_eq!(answers(factory.must_with(&batch, &list)), made(&|at| at >= 40));
    let after = factory.files();
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before), "nothing else lies there");
    let kept = |files: &[(PathBuf, Vec<u8>)]| -> Vec<_> {
        let done = |path: &Path| ids[..40].iter().any(|id| path.starts_with(factory.path("plugs").join(id)));
        files.iter().filter(|(path, _)| done(path)).cloned().collect()
    };
    assert_eq!(kept(&after), kept(&before), "what was done stays");
    let certificate = factory.certificate(&format!("plugs/{}/device.crt", ids[40]));
    let key = factory.key(&format!("plugs/{}/device.key", ids[40]));
    assert!(certificate.public_key().expect("a key").public_eq(&key), "its key was kept");
}

#[test]
fn a_factory_killed_at_any_moment_goes_on_where_it_was() {
    let factory = Factory::new();
    let ids: Vec<String> = (1..=200).map(|number| format!("{number:016x}")).collect();
    fs::write(factory.path("ids"), ids.join("\n")).expect("written");
    // Answers so long that the program waits for its reader before it has reached the end.
    let plugs = ["p"; 3].map(|letter| letter.repeat(200)).join("/");
    let batch = ["device", "--authority", "manufacturer", "--ids", "ids", "--out", &plugs];
    let mut finished = 0;
    for lines in [1, 20, 50] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sect-cloud"))
            .current_dir(factory.0.path())
            .arg("provision")
            .args(batch)
            .stdout(Stdio::piped())
            .spawn()
            .expect("sect-cloud starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        assert_eq!(out.lines().take(lines).filter(Result::is_ok).count(), lines);
        child.kill().expect("its own child");
        child.wait().expect("its own child");
        let done = ids.iter().filter(|id| factory.path(&format!("{plugs}/{id}/device.crt")).exists()).count();
        assert!(done >= lines.max(finished) && done < ids.len(), "{done} of {}", ids.len());
        finished = done;
    }
    assert_eq!(factory.must(&batch).len(), ids.len());
    let authority = factory.certificate("manufacturer/authority.crt");
    for id in &ids {
        let certificate = factory.certificate(&format!("{plugs}/{id}/device.crt"));
        assert_eq!(verify(&certificate, &authority, &A_CLIENT), Ok(()), "{id}");
        assert_eq!(common_names(&certificate), [format!("CN={id}")]);
        let key = factory.key(&format!("{plugs}/{id}/device.key"));
        assert!(certificate.public_key().expect("a key").public_eq(&key), "{id}");
        assert_eq!(fs::read_dir(factory.path(&format!("{plugs}/{id}"))).expect("a folder").count(), 2, "{id}");
    }
}

#[test]
fn a_list_with_a_mistake_makes_nothing() {
    let factory = Factory::new();
    let before = factory.files();
    for (list, why) in [
        ("", "no ids"),
        ("0123456789abcdef\n0123456789ABCDEF\n", "line 2"),
        ("0123456789abcdef\nfedcba9876543210\n0123456789abcdef\n", "line 3"),
        ("../../../../etc\n", "line 1"),
    ] {
        let output =
            factory.provision(&["device", "--authority", "manufacturer", "--ids", "-", "--out", "plugs"], list);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""), "{list:?}");
        assert!(text(&output.stderr).contains(why), "{list:?}: {}", text(&output.stderr));
        assert_eq!(factory.files(), before, "{list:?}");
    }
}

#[test]
fn a_key_that_others_may_read_is_not_used() {
    let factory = Factory::new();
    fs::set_permissions(factory.path("manufacturer/authority.key"), Permissions::from_mode(0o640)).expect("changed");
    let why = factory.refused(&["device", "--authority", "manufacturer", "--id", ID, "--out", "state"]);
    assert!(why.contains("others may read or write this key (mode 640)"), "{why}");
    assert!(!factory.path("state").exists());
}

#[test]
fn an_authority_for_things_certifies_no_server_and_the_other_way_around() {
    let factory = Factory::new();
    let why = factory.refused(&["server", "--authority", "manufacturer", "--host", "localhost", "--out", "server"]);
    assert!(why.contains("this authority certifies things"), "{why}");
    let why = factory.refused(&["device", "--authority", "servers", "--id", ID, "--out", "state"]);
    assert!(why.contains("this authority certifies servers"), "{why}");
    assert_eq!(factory.files().len(), 4, "the two authorities and nothing else");
}

#[test]
fn two_processes_do_not_fill_one_folder() {
    let factory = Factory::new();
    let held = Folder::open(&factory.path("state"), &[]).expect("the first");
    let device = ["device", "--authority", "manufacturer", "--id", ID, "--out", "state"];
    assert!(factory.refused(&device).contains("another process is working in it"));
    assert!(!factory.path("state/device.key").exists());
    drop(held);
    factory.must(&device);
}

#[test]
fn what_root_writes_belongs_to_the_owner_of_the_folder() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can give files away.
        return;
    }
    let factory = Factory::new();
    let state = factory.path("state");
    fs::create_dir(&state).expect("made");
    chown(&state, Some(12345), Some(54321)).expect("root may");
    factory.must(&["device", "--authority", "manufacturer", "--id", ID, "--out", "state"]);
    for name in ["device.key", "device.crt"] {
        let found = fs::metadata(state.join(name)).expect("there");
        assert_eq!((found.uid(), found.gid()), (12345, 54321), "{name}");
    }
    assert_eq!(factory.mode("state/device.key"), 0o600);
}
