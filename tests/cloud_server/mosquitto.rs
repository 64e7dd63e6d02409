//! Debian's `mosquitto_pub` and `mosquitto_sub`, as honest clients and as the attacker. They need a
//! package, so that `cargo test` leaves them out and `tests/all` runs them.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Output, Stdio};

use sect::cloud::provision::Issued;
use tempfile::TempDir;

use super::isolation::{A, B, c, entry, t, token, user};
use super::pki::Pki;
use super::server::{SOON, Server};

const DENIED: &str = "All subscription requests were denied.\n";

/// A stock client with its settings in a file of its own: they hold secrets, and a command line has none.
struct Stock(TempDir);

impl Stock {
    fn new(server: &Server, port: u16) -> (Self, String) {
        let stock = Self(tempfile::tempdir().expect("a folder"));
        let authority = stock.keep("ca.pem", &server.pki.servers.certificate().to_pem());
        (stock, format!("-h localhost\n-p {port}\n--cafile {authority}\n"))
    }

    fn controller(server: &Server, n: u32) -> (Self, String) {
        let (stock, options) = Self::new(server, server.controllers.port());
        (stock, format!("{options}-u {}\n-P {}\n", user(n), token(n)))
    }

    fn thing(server: &Server, issued: &Issued) -> (Self, String) {
        let (stock, options) = Self::new(server, server.things.port());
        let certificate = stock.keep("thing.pem", &issued.certificate);
        let key = stock.keep("thing.key", issued.key.expose());
        (stock, format!("{options}--cert {certificate}\n--key {key}\n"))
    }

    fn keep(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).expect("a file");
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn command(&self, tool: &str, options: &str) -> Command {
        self.keep(tool, options);
        let mut command = Command::new("timeout");
        command.args(["30", tool]).env_remove("HOME").env("XDG_CONFIG_HOME", self.0.path()).stdin(Stdio::null());
        command
    }

    fn run((stock, options): &(Self, String), tool: &str, more: &[&str]) -> (Option<i32>, String, String) {
        let output = stock.command(tool, &format!("{options}{}\n", more.join("\n"))).output().expect("coreutils");
        let Output { status, stdout, stderr } = output;
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (status.code(), text(stdout), text(stderr))
    }
}

fn registered() -> (Server, super::client::Client) {
    let server = Server::new();
    let mut thing = server.thing(A);
    thing.register(&A, 1, &[entry(0), entry(1)]);
    assert_eq!(thing.subscribe(&[&c(0)]), [1]);
    server.thing(B).register(&B, 1, &[entry(2)]);
    (server, thing)
}

#[test]
#[ignore = "needs mosquitto-clients: run tests/all"]
fn honest_stock_clients_talk_to_each_other() {
    let (server, mut thing) = registered();
    let (controller, device) = (Stock::controller(&server, 0), Stock::thing(&server, &server.pki.device(&A)));
    for version in ["-V 311", "-V 5"] {
        let topic = format!("-t {}", c(0));
        let sent = Stock::run(&controller, "mosquitto_pub", &[version, "-q 1", &topic, "-m command"]);
        assert_eq!(sent, (Some(0), String::new(), String::new()), "{version}");
        assert_eq!(thing.message(SOON), Some((c(0), "command".to_owned())));

        let before = server.metric("sect_cloud_forwards_total");
        let options = format!("{}-C 1\n-W 15\n-t {}\n{version}\n", controller.1, t(0));
        let listener = controller.0.command("mosquitto_sub", &options).stdout(Stdio::piped()).spawn();
        let listener = listener.expect("coreutils");
        // Until it is subscribed, the messages have no reader.
        server.eventually("it hears", |server| {
            let sent = Stock::run(&device, "mosquitto_pub", &[version, &format!("-t {}", t(0)), "-m answer"]);
            assert_eq!(sent, (Some(0), String::new(), String::new()), "{version}");
            server.metric("sect_cloud_forwards_total") > before
        });
        let heard = listener.wait_with_output().expect("a child");
        assert_eq!((heard.status.code(), heard.stdout.as_slice()), (Some(0), b"answer\n".as_slice()), "{version}");
    }
}

#[test]
#[ignore = "needs mosquitto-clients: run tests/all"]
fn a_stock_client_hears_nothing_that_is_not_its_own() {
    let (server, _thing) = registered();
    let clients = [Stock::controller(&server, 0), Stock::thing(&server, &server.pki.device(&B))];
    for (who, client) in clients.iter().enumerate() {
        for version in ["-V 311", "-V 5"] {
            for topic in ["#", "+", "+/+/+", "s/#", "s/+/c", "s/+/t", "$SYS/#", "sect/cloud/+/up", &c(0), &t(1), &c(9)]
            {
                let heard = Stock::run(client, "mosquitto_sub", &[version, "-W 5", &format!("-t {topic}")]);
                assert_eq!((heard.1.as_str(), heard.2.as_str()), ("", DENIED), "client {who}, {version}, {topic}");
            }
        }
    }
}

#[test]
#[ignore = "needs mosquitto-clients: run tests/all"]
fn what_a_stock_client_says_on_the_wrong_side_reaches_nobody() {
    let (server, mut thing) = registered();
    let mut reader = server.controller("reader", &user(0), &token(0));
    assert_eq!(reader.subscribe(&[&t(0)]), [1]);
    let controllers = [Stock::controller(&server, 0), Stock::controller(&server, 1)];
    let device = Stock::thing(&server, &server.pki.device(&B));
    let up = format!("sect/cloud/{A}/up");
    for version in ["-V 311", "-V 5"] {
        let told = if version == "-V 5" { "Warning: Publish 1 failed: Not authorized.\n" } else { "" };
        for (client, topic) in [
            (&controllers[0], t(0)),
            (&controllers[1], c(0)),
            (&controllers[1], t(0)),
            (&controllers[0], up.clone()),
            (&device, c(0)),
            (&device, t(0)),
            (&device, up.clone()),
            (&device, t(9)),
        ] {
            let said = Stock::run(client, "mosquitto_pub", &[version, "-q 1", &format!("-t {topic}"), "-m forged"]);
            assert_eq!((said.0, said.2.as_str()), (Some(0), told), "{version}, {topic}");
        }
    }
    // The server hangs up, which a 3.1.1 client takes for a success; a 5.0 client has been told before.
    let topic = format!("-t {}", c(0));
    let _ = Stock::run(&controllers[0], "mosquitto_pub", &["-V 311", "-q 1", "-r", &topic, "-m kept"]);
    assert_eq!((thing.messages(), reader.messages()), (vec![], vec![]));
    assert_eq!(server.denials("protocol"), 1, "the retained message");
}

#[test]
#[ignore = "needs mosquitto-clients: run tests/all"]
fn a_stock_client_without_the_right_credentials_does_not_get_in() {
    let (server, _thing) = registered();
    let foreign = Stock::thing(&server, &Pki::new().device(&A));
    let (stock, options) = Stock::new(&server, server.things.port());
    let anonymous = (stock, options);
    let (stock, options) = Stock::new(&server, server.controllers.port());
    let guessing = (stock, format!("{options}-u {}\n-P {}\n", user(0), token(1)));
    for (what, client) in [("foreign", &foreign), ("anonymous", &anonymous), ("guessing", &guessing)] {
        let said = Stock::run(client, "mosquitto_pub", &["-q 1", &format!("-t {}", t(0)), "-m x"]);
        assert!(said.0 != Some(0) && !said.2.is_empty(), "{what}: {said:?}");
    }
}
