//! Control from anywhere, through a cloud server that reads nothing (SecT STEP 8, 9, 14, 15).

mod support;

use std::time::{Duration, Instant};

use sect::proto::envelope;
use sect::proto::message::ReturnCode;
use sect::proto::pairing::binding::Binding;
use sect::proto::time::Micros;
use support::cloud::Cloud;
use support::line::{self, Line};
use support::{Plug, SOON, wait_for};

/// A plug at home with a cloud server, and its owner's keys.
async fn at_home_with(cloud: &Cloud) -> (Plug, Binding) {
    let mut plug = Plug::new();
    cloud.provision(&plug);
    plug.power_on();
    let binding = line::claim(&plug).await;
    (plug, binding)
}

/// A session at the cloud server; the plug may still be on its way there.
async fn remote(cloud: &Cloud, binding: &Binding) -> Line {
    let started = Instant::now();
    loop {
        match Line::open_remote(cloud, binding).await {
            Ok(line) => return line,
            Err(error) => assert!(started.elapsed() < SOON, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A session at the cloud server through which the plug has answered.
async fn answering(cloud: &Cloud, binding: &Binding) -> Line {
    let mut line = remote(cloud, binding).await;
    let started = Instant::now();
    // The registration is in force before the thing listens to its topic.
    while line.try_status(Duration::from_millis(200)).await.is_none() {
        assert!(started.elapsed() < SOON, "the plug does not answer through the cloud server");
    }
    line
}

#[tokio::test]
async fn a_plug_is_switched_through_the_cloud_server_by_the_same_bytes_as_at_home() {
    let cloud = Cloud::running();
    let (plug, binding) = at_home_with(&cloud).await;
    let mut far = answering(&cloud, &binding).await;
    let (command, said) = far.switch(true).await;
    assert_eq!((said.rc, said.st.on), (Some(ReturnCode::Ok), true));
    assert!(plug.outlet_is_on());

    // The same bytes at home: acted on once, and the same answer on both paths.
    let mut near = Line::open(&plug, &binding).await.expect("a session at home");
    plug.press("short");
    wait_for("the button", || (!plug.outlet_is_on()).then_some(()));
    near.send(&command).await;
    loop {
        let heard = near.hear().await;
        if heard.re == Some(envelope::request_id(&command)) {
            assert_eq!(heard.jwe, said.jwe);
            break;
        }
    }
    assert!(!plug.outlet_is_on(), "it has not run again");
}

#[tokio::test]
async fn the_cloud_server_has_seen_nothing_that_it_could_use() {
    let cloud = Cloud::running();
    let (_plug, binding) = at_home_with(&cloud).await;
    let mut far = answering(&cloud, &binding).await;
    far.switch(true).await;
    let log = cloud.log_text();
    for secret in [binding.topic.as_str(), binding.credentials.user.expose(), binding.credentials.password.expose()] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_cloud_server_that_dies_loses_no_registration_and_home_goes_on() {
    let mut cloud = Cloud::running();
    let (plug, binding) = at_home_with(&cloud).await;
    answering(&cloud, &binding).await;
    let mut near = Line::open(&plug, &binding).await.expect("a session at home");

    cloud.power_cut();
    let (_, said) = near.switch(true).await;
    assert_eq!(said.rc, Some(ReturnCode::Ok));
    assert!(plug.outlet_is_on());

    // The account is there before the plug has registered again.
    cloud.start();
    Line::open_remote(&cloud, &binding).await.expect("the registration survived");
    // And the plug comes back by itself.
    let mut far = answering(&cloud, &binding).await;
    let (_, said) = far.switch(false).await;
    assert_eq!(said.rc, Some(ReturnCode::Ok));
    assert!(!plug.outlet_is_on());
}

#[tokio::test]
async fn a_server_with_another_name_authority_or_certificate_is_refused_and_home_goes_on() {
    let cloud = Cloud::running();
    let pin = cloud.pki.servers.pin().to_string();
    let other = support::pki::Pki::new();
    for (host, pin, factory, state) in [
        ("127.0.0.1", pin.as_str(), &cloud.pki, "wrong-name"),
        ("localhost", &other.servers.pin().to_string(), &cloud.pki, "wrong-authority"),
        ("localhost", &pin, &other, "refused"),
        ("no-such-host.invalid", &pin, &cloud.pki, "dns"),
    ] {
        let mut plug = Plug::new();
        cloud.provision_as(&plug, host, pin, factory);
        plug.power_on();
        let binding = line::claim(&plug).await;
        let mut near = Line::open(&plug, &binding).await.expect("a session at home");
        let started = Instant::now();
        loop {
            let clouds = near.cloud_states().await;
            if clouds == [(host.to_owned(), state.to_owned())] {
                break;
            }
            assert!(started.elapsed() < SOON, "{host}: {clouds:?} instead of {state}");
        }
        let (_, said) = near.switch(true).await;
        assert_eq!(said.rc, Some(ReturnCode::Ok), "{state}");
    }
}

#[tokio::test]
async fn what_a_hostile_server_records_delays_and_forges_switches_nothing() {
    let cloud = Cloud::running();
    let (plug, binding) = at_home_with(&cloud).await;
    let mut far = answering(&cloud, &binding).await;
    // Whoever runs the server sees every byte and can send any. Recorded and sent again:
    let (recorded, first) = far.switch(true).await;
    let (_, said) = far.switch(false).await;
    assert_eq!(said.rc, Some(ReturnCode::Ok));
    far.send(&recorded).await;
    assert_eq!(far.answer_to(&recorded).await.jwe, first.jwe);
    assert!(!plug.outlet_is_on());
    // The answer as a command, a flipped bit, a topic's worth of noise:
    let status = far.status().await;
    let command = far.command(true, status.boot, Micros::new(status.ts.get() + 1));
    let mut forged = command.clone();
    forged[300] ^= 1;
    for attack in [&first.jwe, &forged, &vec![b'.'; 2000]] {
        far.send(attack).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!plug.outlet_is_on());
    // Reordered: the later of two commands comes first, the earlier is worth nothing then.
    let status = far.status().await;
    let earlier = far.command(true, status.boot, Micros::new(status.ts.get() + 1));
    let later = far.command(false, status.boot, Micros::new(status.ts.get() + 2));
    far.send(&later).await;
    assert_eq!(far.answer_to(&later).await.rc, Some(ReturnCode::Ok));
    far.send(&earlier).await;
    assert_eq!(far.answer_to(&earlier).await.rc, Some(ReturnCode::Stale));
    assert!(!plug.outlet_is_on());
}
