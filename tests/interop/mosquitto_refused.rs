//! What the local server refuses to a stock client.
use crate::at_home;
use crate::mosquitto::{Account, Client, VERSIONS};

#[test]
#[ignore = "needs mosquitto-clients, python3, nodejs: run tests/all"]
fn explore() {
    let (plug, binding) = at_home();
    let (other_plug, other) = at_home();
    let mine = Account::of(&plug, &binding);
    let yours = Account::of(&other_plug, &other);
    for version in VERSIONS {
        let v = format!("-V {version}");
        let show = |what: &str, tool: &str, account: &Account, more: &[&str]| {
            let out = Client::new(tool, &account.options(), &[&[v.as_str()], more].concat()).run();
            eprintln!("{version} {what}: {:?} {:?} {:?}", out.status.code(), String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        };
        let own_c = format!("-t {}", binding.topic.c2t());
        let own_t = format!("-t {}", binding.topic.t2c());
        let other_t = format!("-t {}", other.topic.t2c());
        let other_c = format!("-t {}", other.topic.c2t());
        for topic in ["-t #", "-t +", "-t +/+/+", "-t s/+/t", "-t $SYS/#", "-t $SYS/broker/version", "-t $share/g/x", &own_c, &other_t, "-t sect/pair/t"] {
            show(topic, "mosquitto_sub", &mine, &[topic, "-C 1", "-W 1"]);
        }
        show("own", "mosquitto_sub", &mine, &[&own_t, "-C 1", "-W 1"]);
        show("two", "mosquitto_sub", &mine, &[&own_t, "-t #", "-C 1", "-W 1"]);
        for topic in [&own_t, &other_c, "-t x", "-t sect/pair/c"] {
            for q in ["-q 0", "-q 1"] {
            show(&format!("pub {topic} {q}"), "mosquitto_pub", &mine, &[topic, q, "-m x"]);
            }
        }
        show("retain", "mosquitto_pub", &mine, &[&own_c, "-q 1", "-r", "-m x"]);
        show("retain0", "mosquitto_pub", &mine, &[&own_c, "-q 0", "-r", "-m x"]);
        show("will", "mosquitto_pub", &mine, &[&own_c, "-m x", "--will-topic x", "--will-payload x"]);
        show("qos2", "mosquitto_pub", &mine, &[&own_c, "-m x", "-q 2"]);
        show("tls1.2", "mosquitto_pub", &mine, &[&own_c, "-m x", "--tls-version tlsv1.2"]);
        show("tls1.1", "mosquitto_pub", &mine, &[&own_c, "-m x", "--tls-version tlsv1.1"]);
        for (what, account) in [
            ("wrong psk", Account { psk: yours.psk.clone(), ..mine.clone() }),
            ("unknown", Account { psk_identity: yours.psk_identity.clone(), ..mine.clone() }),
            ("other whole", Account { address: mine.address, ..yours.clone() }),
            ("other login", Account { user: yours.user.clone(), password: yours.password.clone(), ..mine.clone() }),
            ("other user", Account { user: yours.user.clone(), ..mine.clone() }),
            ("other pass", Account { password: yours.password.clone(), ..mine.clone() }),
        ] {
            show(what, "mosquitto_pub", &account, &[&own_c, "-m x"]);
            show(what, "mosquitto_sub", &account, &[&own_t, "-C 1", "-W 1"]);
        }
        let plain: Vec<String> = mine.options().into_iter().filter(|o| !o.starts_with("--psk")).collect();
        let out = Client::new("mosquitto_pub", &plain, &[&v, &own_c, "-m x"]).run();
        eprintln!("plain {out:?}");
        let out = Client::new("mosquitto_sub", &plain, &[&v, &own_t, "-C 1", "-W 2"]).run();
        eprintln!("plain {out:?}");
        let out = Client::new("mosquitto_pub", &mine.options()[..4], &[&v, &own_c, "-m x"]).run();
        eprintln!("no login {out:?}");
    }
    eprintln!("{}", plug.log_text());
}
