//! What the local server refuses to a stock client, and that nothing gets through meanwhile (protocol
//! section 3.3).

use std::fs;
use std::process::Output;

use sect::proto::pairing::binding::Binding;
use sect::thing::clock::os_rng;

use crate::at_home;
use crate::mosquitto::{exchange, status, switch};
use crate::stock_client::{Account, Client, VERSIONS};
use crate::support::Plug;
use crate::wiretap::Wiretap;

/// Exit status of `mosquitto_sub` that heard nothing in the time given by `-W`.
const TIMED_OUT: i32 = 27;
/// `MOSQ_ERR_CONN_LOST`.
const CONNECTION_LOST: i32 = 7;
/// `MOSQ_ERR_TLS`.
const TLS_ERROR: i32 = 8;

/// TLS alerts as the server writes them: fatal, before any key.
const DECRYPT_ERROR: &[u8] = &[0x15, 3, 3, 0, 2, 2, 51];
const PROTOCOL_VERSION: &[u8] = &[0x15, 3, 3, 0, 2, 2, 70];

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A command that would switch the outlet on, sealed and in a file for `mosquitto_pub -f`.
fn good_command(plug: &Plug, binding: &Binding) -> tempfile::NamedTempFile {
    let (_, _, told) = exchange(plug, binding, &[], "-q 0", &status());
    let command = binding.keys().c2t.seal(&switch(true, &told), &mut os_rng()).expect("short");
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), command).expect("written");
    file
}

/// Nothing that a stranger sends is loud.
fn assert_quiet(plug: &Plug) {
    let log = plug.log_text();
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
}

#[test]
#[ignore = "needs mosquitto-clients, python3, nodejs: run tests/all"]
fn every_other_topic_is_refused_to_a_subscriber() {
    let (plug, binding) = at_home();
    let account = Account::of(&plug, &binding);
    let own = binding.topic.c2t();
    let stranger = format!("s/{}/t", "A".repeat(25));
    for version in VERSIONS {
        for topic in ["#", "+", "+/+/+", "s/+/t", "s/#", "$SYS/#", "$share/g/s", "sect/pair/t", &own, &stranger] {
            let options = [format!("-V {version}"), format!("-t {topic}")];
            let output = Client::new("mosquitto_sub", &[&account.options()[..], &options].concat(), &["-W 5"]).run();
            assert_eq!(complaint(&output), "All subscription requests were denied.\n", "MQTT {version} {topic}");
            assert!(output.stdout.is_empty(), "MQTT {version} {topic}");
        }
    }
    assert_quiet(&plug);
}

#[test]
#[ignore = "needs mosquitto-clients, python3, nodejs: run tests/all"]
fn a_good_command_on_any_other_topic_does_nothing() {
    let (plug, binding) = at_home();
    let account = Account::of(&plug, &binding);
    let command = good_command(&plug, &binding);
    let file = format!("-f {}", command.path().display());
    let (own, right) = (binding.topic.t2c(), binding.topic.c2t());
    let stranger = format!("s/{}/c", "A".repeat(25));
    // Whoever listens on the thing's side hears nothing that the thing has not said.
    let ear = [format!("-t {own}"), "-W 5".to_owned()];
    let ear = std::thread::spawn({
        let options = [&account.options()[..], &ear].concat();
        move || Client::new("mosquitto_sub", &options, &[]).run()
    });
    for version in VERSIONS {
        for topic in [&own, &stranger, "s", "sect/pair/c", "$SYS/x"] {
            let options = [format!("-V {version}"), format!("-t {topic}"), "-q 1".to_owned()];
            let output = Client::new("mosquitto_pub", &[&account.options()[..], &options].concat(), &[&file]).run();
            // MQTT 3.1.1 has no way to say it.
            let told = if version == "5" { "Warning: Publish 1 failed: Not authorized.\n" } else { "" };
            assert_eq!((output.status.code(), &*complaint(&output)), (Some(0), told), "MQTT {version} {topic}");
            assert!(!plug.outlet_is_on(), "MQTT {version} {topic}");
        }
    }
    let heard = ear.join().expect("it ran");
    assert_eq!((heard.status.code(), heard.stdout.len()), (Some(TIMED_OUT), 0), "{}", complaint(&heard));
    // The very same bytes where they belong are still good.
    let options = [format!("-t {right}"), "-q 1".to_owned()];
    let output = Client::new("mosquitto_pub", &[&account.options()[..], &options].concat(), &[&file]).run();
    assert!(output.status.success() && plug.outlet_is_on(), "{output:?}");
    assert_quiet(&plug);
}

#[test]
#[ignore = "needs mosquitto-clients, python3, nodejs: run tests/all"]
fn an_unknown_identity_fails_as_a_wrong_key_does() {
    let (plug, binding) = at_home();
    let (_other_plug, other) = at_home();
    let mine = Account::of(&plug, &binding);
    let theirs = Account::of(&plug, &other);
    let topic = format!("-t {}", binding.topic.c2t());
    let fail = |version: &str, account: &Account| {
        let tap = Wiretap::before(account.address);
        let account = Account { address: tap.address, ..account.clone() };
        let output =
            Client::new("mosquitto_pub", &account.options(), &[&format!("-V {version}"), &topic, "-m x"]).run();
        (output.status.code(), complaint(&output), tap.heard())
    };
    for version in VERSIONS {
        let wrong_key = fail(version, &Account { psk: theirs.psk.clone(), ..mine.clone() });
        let expected = (Some(TLS_ERROR), "Error: A TLS error occurred.\n".to_owned(), DECRYPT_ERROR.to_vec());
        assert_eq!(wrong_key, expected, "MQTT {version}");
        // Somebody else's identity with its own key, the same with the key that opens this plug, and no
        // possible identity at all.
        for unknown in [
            theirs.clone(),
            Account { psk_identity: theirs.psk_identity.clone(), ..mine.clone() },
            Account { psk_identity: "nobody".to_owned(), ..mine.clone() },
            // The pairing identity is nobody's once the plug is claimed.
            Account { psk_identity: "pair".to_owned(), ..mine.clone() },
        ] {
            assert_eq!(fail(version, &unknown), wrong_key, "MQTT {version}");
        }
    }
    assert_quiet(&plug);
}

#[test]
#[ignore = "needs mosquitto-clients, python3, nodejs: run tests/all"]
fn only_the_login_of_the_identity_is_taken() {
    let (plug, binding) = at_home();
    let (_other_plug, other) = at_home();
    let mine = Account::of(&plug, &binding);
    let theirs = Account::of(&plug, &other);
    let command = good_command(&plug, &binding);
    let file = format!("-f {}", command.path().display());
    let topic = format!("-t {}", binding.topic.c2t());
    // The client's exit status is the reason code of the CONNACK.
    for (version, code, told) in [
        ("311", 4, "Connection error: Connection Refused: bad user name or password.\n"),
        ("5", 0x86, "Connection error: Bad User Name or Password\n"),
    ] {
        let with = |user: &str, password: &str| {
            let account = Account { user: user.to_owned(), password: password.to_owned(), ..mine.clone() };
            account.options()
        };
        for options in [
            with(&theirs.user, &theirs.password),
            with(&theirs.user, &mine.password),
            with(&mine.user, &theirs.password),
            with(&mine.user, &mine.password.to_lowercase()),
            with(&mine.user, &mine.password[1..]),
            // A user name alone, and neither.
            mine.options()[..5].to_vec(),
            mine.options()[..4].to_vec(),
        ] {
            let output = Client::new("mosquitto_pub", &options, &[&format!("-V {version}"), &topic, &file]).run();
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            assert!(complaint(&output).starts_with(told), "{output:?}");
        }
    }
    assert!(!plug.outlet_is_on());
    assert_quiet(&plug);
}

#[test]
#[ignore = "needs mosquitto-clients, python3, nodejs: run tests/all"]
fn a_will_a_retained_publish_and_qos_2_are_refused() {
    let (plug, binding) = at_home();
    let account = Account::of(&plug, &binding);
    let command = good_command(&plug, &binding);
    let file = format!("-f {}", command.path().display());
    let topic = format!("-t {}", binding.topic.c2t());
    let publish = |version: &str, more: &[&str]| {
        let version = format!("-V {version}");
        Client::new("mosquitto_pub", &account.options(), &[&[&*version, &*topic, &*file], more].concat()).run()
    };
    for (version, code) in [("311", 5), ("5", 0x87)] {
        let output = publish(version, &["--will-topic x", "--will-payload x"]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }
    // At QoS 0 the client is gone before it could hear of it.
    publish("311", &["-r", "-q 0"]);
    for refused in [&["-r", "-q 1"][..], &["-q 2"]] {
        let output = publish("311", refused);
        assert_eq!(output.status.code(), Some(CONNECTION_LOST), "{output:?}");
    }
    // With MQTT 5.0 the CONNACK says that QoS 2 is not to be had, and the client does not even send it.
    let output = publish("5", &["-q 2"]);
    assert_eq!(complaint(&output), "Error: Message QoS not supported on broker, try a lower QoS.\n");
    assert!(!plug.outlet_is_on());
    // It also says that nothing is retained, and the client leaves the flag out: the command as such is good.
    let output = publish("5", &["-r", "-q 1"]);
    assert!(output.status.success() && plug.outlet_is_on(), "{output:?}");
    assert_quiet(&plug);
}

#[test]
#[ignore = "needs mosquitto-clients, python3, nodejs: run tests/all"]
fn nothing_but_tls_1_3_is_spoken() {
    let (plug, binding) = at_home();
    let account = Account::of(&plug, &binding);
    let topic = format!("-t {}", binding.topic.c2t());
    // The client takes `--tls-version tlsv1.2` for "at least"; it is OpenSSL's settings that hold it back.
    let folder = tempfile::tempdir().expect("a folder");
    let settings = folder.path().join("openssl.cnf");
    let text = "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = old\n[old]\nMaxProtocol = TLSv1.2\n";
    fs::write(&settings, text).expect("written");
    let tap = Wiretap::before(account.address);
    let tapped = Account { address: tap.address, ..account.clone() };
    let output = Client::new("mosquitto_pub", &tapped.options(), &["--tls-version tlsv1.2", &topic, "-m x"])
        .environment("OPENSSL_CONF", &settings)
        .run();
    assert_eq!((output.status.code(), tap.heard()), (Some(TLS_ERROR), PROTOCOL_VERSION.to_vec()), "{output:?}");

    // No TLS at all: user and password go out, and nothing comes back.
    let tap = Wiretap::before(account.address);
    let tapped = Account { address: tap.address, ..account };
    let plain: Vec<_> = tapped.options().into_iter().filter(|option| !option.starts_with("--psk")).collect();
    let output = Client::new("mosquitto_pub", &plain, &[&topic, "-m x"]).run();
    assert_eq!((output.status.code(), tap.heard()), (Some(CONNECTION_LOST), Vec::new()), "{output:?}");
    assert_quiet(&plug);
}
