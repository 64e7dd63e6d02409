//! Debian's `mosquitto_pub` and `mosquitto_sub` as a controller: login, and sealed messages both ways
//! (protocol sections 3.2, 3.3, 4, 6).

use std::fs;

use sect::proto::envelope::{self, Sealed};
use sect::proto::id::Nonce;
use sect::proto::json;
use sect::proto::message::{Response, ReturnCode, Status};
use sect::proto::operation::Operation;
use sect::proto::pairing::binding::Binding;
use sect::proto::time::Micros;
use sect::thing::clock::os_rng;

use crate::at_home;
use crate::stock_client::{Account, Client, VERSIONS};
use crate::support::Plug;

/// Sends one sealed message with `mosquitto_pub`, and opens what `mosquitto_sub` receives.
///
/// Returns what the answer says about the outcome and the outlet, and the answer itself.
pub(crate) fn exchange(
    plug: &Plug,
    binding: &Binding,
    options: &[String],
    quality: &str,
    plain: &[u8],
) -> (ReturnCode, bool, Vec<u8>) {
    let keys = binding.keys();
    let request = keys.c2t.seal(plain, &mut os_rng()).expect("short");
    let options = [&Account::of(plug, binding).options(), options].concat();
    let listener =
        Client::new("mosquitto_sub", &options, &["-d", "-C 1", "-W 15", &format!("-t {}", binding.topic.t2c())])
            .listen();
    let payload = tempfile::NamedTempFile::new().expect("a file");
    fs::write(payload.path(), &request).expect("written");
    let file = format!("-f {}", payload.path().display());
    let topic = format!("-t {}", binding.topic.c2t());
    let sent = Client::new("mosquitto_pub", &options, &[quality, &topic, &file]).run();
    assert!(sent.status.success() && sent.stderr.is_empty(), "{sent:?}");

    let answer = listener.message();
    let opened = Sealed::parse(&answer).expect("an envelope").open(&keys.t2c).expect("authentic");
    let said = json::read::<Response<'_>>(opened.bytes()).expect("an answer");
    assert_eq!(said.re, envelope::request_id(&request));
    (said.rc, said.st.on, opened.bytes().to_vec())
}

/// A question for the state.
pub(crate) fn status() -> Vec<u8> {
    json::encode(&Status { id: Nonce::random(&mut os_rng()) })
}

/// A command that is fresh by what an answer has just said.
pub(crate) fn switch(on: bool, answer: &[u8]) -> Vec<u8> {
    let said = json::read::<Response<'_>>(answer).expect("an answer");
    Operation::outlet(on).command(said.boot, Micros::new(said.ts.get() + 1))
}

#[test]
#[ignore = "needs mosquitto-clients, python3, nodejs: run tests/all"]
fn mosquitto_clients_log_in_and_switch_the_outlet() {
    let (plug, binding) = at_home();
    for version in VERSIONS {
        let options = [format!("-V {version}"), "--tls-version tlsv1.3".to_owned()];
        let (rc, on, told) = exchange(&plug, &binding, &options, "-q 0", &status());
        assert_eq!((rc, on), (ReturnCode::Ok, false), "MQTT {version}");
        let (rc, on, told) = exchange(&plug, &binding, &options, "-q 0", &switch(true, &told));
        assert_eq!((rc, on), (ReturnCode::Ok, true), "MQTT {version}");
        assert!(plug.outlet_is_on());
        // A publish at QoS 1 is taken as well, and acknowledged: the client ends by itself.
        let (rc, on, _) = exchange(&plug, &binding, &options, "-q 1", &switch(false, &told));
        assert_eq!((rc, on), (ReturnCode::Ok, false), "MQTT {version}");
        assert!(!plug.outlet_is_on());
    }
}

#[test]
#[ignore = "needs mosquitto-clients, python3, nodejs: run tests/all"]
fn mosquitto_clients_find_tls_1_3_by_themselves() {
    let (plug, binding) = at_home();
    let (rc, on, _) = exchange(&plug, &binding, &[], "-q 0", &status());
    assert_eq!((rc, on), (ReturnCode::Ok, false));
}
