//! What NetworkManager is asked and told, in this order and nothing else, and what it says.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use zbus::OwnedVariant;

use super::*;
use crate::proto::wifi::{HomeNetwork, Ssid};
use crate::thing::wifi::network_manager::argument::Profile;
use crate::thing::wifi::network_manager::profile;
use crate::thing::wifi::network_manager::progress::{Reason, Signal};
use crate::thing::wifi::network_manager::signals::{IP4_CONFIG, WIRELESS};

const SECRET: &str = "correct horse battery";

fn home() -> Profile {
    let network = HomeNetwork { ssid: Ssid::new(b"Home").expect("a name"), psk: SECRET.parse().expect("a passphrase") };
    profile::station(&network)
}

fn text_of(call: &Message) -> String {
    call.body().deserialize::<String>().expect("a text")
}

#[tokio::test]
async fn it_listens_to_the_run_that_it_talks_to_and_to_nothing_that_it_does_not_need() {
    let (link, mut bus) = Bus::with_link().await;
    let asked = async {
        bus.answer("GetNameOwner", &OWNER).await;
        bus.answer("GetDevices", &vec![path("/1"), path(PLUG_DEVICE)]).await;
        bus.answer("Get", &Variant::U32(1)).await;
        let call = bus.answer("Get", &Variant::U32(2)).await;
        assert_eq!(call.header().destination().map(|name| name.to_string()).as_deref(), Some(OWNER));
        bus.answer("Get", &Variant::from("wlan0")).await;
        let mut rules = Vec::new();
        for _ in 0..3 {
            rules.push(text_of(&bus.answer("AddMatch", &()).await));
        }
        bus.answer("GetNameOwner", &OWNER).await;
        rules
    };
    let (manager, rules) = tokio::join!(Manager::at(link, Some("wlan0")), asked);
    assert_eq!(manager.expect("found").interface, "wlan0");
    assert_eq!(
        rules,
        [
            "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',\
             member='NameOwnerChanged',arg0='org.freedesktop.NetworkManager'",
            "type='signal',sender=':1.5',member='StateChanged'",
            "type='signal',sender=':1.5',interface='org.freedesktop.DBus.Properties',\
             arg0='org.freedesktop.NetworkManager.IP4Config'",
        ]
    );
}

#[tokio::test]
async fn a_run_that_ends_while_it_is_looked_at_is_not_taken() {
    let (link, mut bus) = Bus::with_link().await;
    let asked = async {
        bus.be_looked_at().await;
        for _ in 0..3 {
            bus.answer("AddMatch", &()).await;
        }
        bus.answer("GetNameOwner", &":1.6").await;
    };
    let (manager, ()) = tokio::join!(Manager::at(link, None), asked);
    assert!(matches!(manager, Err(Trouble::Ended)), "{manager:?}");
}

#[tokio::test]
async fn signals_come_in_order_and_the_end_of_its_run_is_the_last() {
    let (mut manager, bus) = Bus::with_manager().await;
    for message in [
        device_state(OWNER, 40, 0),
        connection_state(OWNER, "/a/2", 1),
        device_state(OWNER, 120, 7),
        connection_state(OWNER, "/a/2", 4),
        properties_changed(OWNER, "/ip/1", IP4_CONFIG, "AddressData"),
        owner_changed(BUS, "org.freedesktop.login1", ""),
        owner_changed(BUS, NAME, ""),
    ] {
        bus.say(&message).await;
    }
    let connection = |state| Signal::Connection { path: "/a/2".to_owned(), state };
    let mut heard = Vec::new();
    for _ in 0..6 {
        heard.push(manager.next().await);
    }
    // Of a rule each is in order; the others may come between.
    heard.sort_by_key(|signal| matches!(signal, Signal::Address) || matches!(signal, Signal::Ended));
    assert_eq!(
        heard[..4],
        [
            Signal::Device { state: 40, reason: Reason(0) },
            connection(1),
            Signal::Device { state: 120, reason: Reason(7) },
            connection(4)
        ]
    );
    assert!(heard[4..].contains(&Signal::Address) && heard[4..].contains(&Signal::Ended), "{heard:?}");
}

#[tokio::test]
async fn an_activation_goes_on_where_it_is_dropped_and_ends_before_the_next_begins() {
    let (mut manager, mut bus) = Bus::with_manager().await;
    let first = tokio::select! {
        _ = manager.activate(home()) => panic!("nobody has answered"),
        call = bus.called("AddAndActivateConnection2") => call,
    };
    // Another order: what was under way is dropped.
    let next = async {
        // The second one is not there yet, however long one waits.
        let early = timeout(Duration::from_millis(200), bus.calls.next()).await;
        assert!(early.is_err(), "{early:?}");
        let none = HashMap::<String, OwnedVariant>::new();
        bus.connection.reply(&first.header(), &(path("/s/1"), path("/a/1"), &none)).await.expect("answered");
        bus.answer("AddAndActivateConnection2", &(path("/s/2"), path("/a/2"), &none)).await
    };
    let (path, _) = tokio::join!(manager.activate(home()), next);
    assert_eq!(path.expect("begun"), "/a/2");
}

#[tokio::test]
async fn the_profile_arrives_with_its_types_and_no_level_of_the_log_shows_its_secret() {
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);
    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let paper = Paper::default();
    let writer = paper.clone();
    let log = tracing_subscriber::registry().with(layer().with_writer(move || writer.clone()));
    let _all_that_is_said = tracing::subscriber::set_default(log);

    let (mut manager, mut bus) = Bus::with_manager().await;
    let refused = bus.refuse("AddAndActivateConnection2", "org.freedesktop.NetworkManager.PermissionDenied", "no");
    let (refusal, ()) = tokio::join!(manager.activate(home()), refused);
    assert!(matches!(refusal, Err(Trouble::NotAllowed)), "{refusal:?}");

    let none = HashMap::<String, OwnedVariant>::new();
    let answer = (path("/s/1"), path("/a/1"), none);
    let (activated, call) = tokio::join!(manager.activate(home()), bus.answer("AddAndActivateConnection2", &answer));
    assert_eq!(activated.expect("begun"), "/a/1");
    let body = call.body();
    assert_eq!(body.signature().to_string_no_parens(), "a{sa{sv}}ooa{sv}");
    type Sent<'a> = (
        HashMap<&'a str, HashMap<&'a str, OwnedVariant>>,
        ObjectPath<'a>,
        ObjectPath<'a>,
        HashMap<&'a str, OwnedVariant>,
    );
    let (profile, device, _, options): Sent<'_> = body.deserialize().expect("a profile");
    assert_eq!(device, PLUG_DEVICE);
    assert_eq!(*options["persist"], Variant::from("volatile"));
    assert_eq!(*profile["802-11-wireless"]["ssid"], Variant::from(b"Home".to_vec()));
    assert_eq!(*profile["802-11-wireless"]["powersave"], Variant::U32(2));
    assert_eq!(*profile["802-11-wireless-security"]["psk"], Variant::from(SECRET));
    assert_eq!(*profile["ipv4"]["may-fail"], Variant::Bool(false));

    // The paper has something on it.
    tracing::trace!("the end");
    let said = String::from_utf8(paper.0.lock().expect("nobody panicked").clone()).expect("text");
    assert!(said.contains("the end"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
}

#[tokio::test]
async fn an_address_and_addresses_of_an_access_point_are_written_and_read() {
    let (mut manager, mut bus) = Bus::with_manager().await;
    let nowhere = Variant::from(path("/"));
    let (none, _) = tokio::join!(manager.address(), bus.answer("Get", &nowhere));
    assert_eq!(none.expect("an answer"), None);
    let data = vec![HashMap::from([("address", Variant::from("10.9.9.10")), ("prefix", Variant::U32(24))])];
    let said = async {
        bus.answer("Get", &Variant::from(path("/ip/1"))).await;
        bus.answer("Get", &Variant::from(data)).await;
    };
    let (address, ()) = tokio::join!(manager.address(), said);
    assert_eq!(address.expect("an answer"), Some(IpAddr::from([10, 9, 9, 10])));

    let passcode = "0123456789ABCDEF".parse().expect("a passcode");
    let profile = profile::access_point("SecT-4F7K", &passcode, IpAddr::from([192, 168, 4, 1]));
    let none = HashMap::<String, OwnedVariant>::new();
    let answer = (path("/s/1"), path("/a/1"), none);
    let (_, call) = tokio::join!(manager.activate(profile), bus.answer("AddAndActivateConnection2", &answer));
    let body = call.body();
    let said: zbus::Structure<'_> = body.deserialize().expect("a profile");
    let said = said.to_string();
    assert!(said.contains("\"address-data\": <[{\"address\": <\"192.168.4.1\">, \"prefix\": <uint32 24>}]>"), "{said}");
    assert!(said.contains("\"pairwise\": <[\"ccmp\"]>") && said.contains("\"pmf\": <1>"), "{said}");
}

#[tokio::test]
async fn a_scan_is_waited_for_and_nothing_of_it_is_listened_to_afterwards() {
    let (mut manager, mut bus) = Bus::with_manager().await;
    let air = async {
        // The rule for NetworkManager's end is there already.
        let rule = text_of(&bus.answer("AddMatch", &()).await);
        bus.answer("RequestScan", &()).await;
        bus.say(&properties_changed(OWNER, PLUG_DEVICE, WIRELESS, "AccessPoints")).await;
        bus.say(&properties_changed(OWNER, "/another", WIRELESS, "LastScan")).await;
        let early = timeout(Duration::from_millis(200), bus.calls.next()).await;
        assert!(early.is_err(), "{early:?}");
        bus.say(&properties_changed(OWNER, PLUG_DEVICE, WIRELESS, "LastScan")).await;
        // The call and the end of the rule come in either order.
        let mut networks = 0;
        let mut ended = Vec::new();
        while networks < 4 || ended.is_empty() {
            let call = bus.calls.next().await.expect("a call").expect("a message");
            let header = call.header();
            match header.member().map(|member| member.as_str()) {
                Some("GetAllAccessPoints") => {
                    let all = vec![path("/ap/1"), path("/ap/2"), path("/ap/3")];
                    bus.connection.reply(&header, &all).await.expect("answered");
                    networks += 1;
                }
                Some("GetAll") => {
                    let mode = Variant::U32(if networks == 2 { 3 } else { 2 });
                    let name = Variant::from(b"Zu\xffHause".to_vec());
                    let one = HashMap::from([("Ssid", name), ("Strength", Variant::U8(170)), ("Mode", mode)]);
                    if networks == 3 {
                        bus.connection.reply_error(&header, "a.Gone", &"gone").await.expect("answered");
                    } else {
                        bus.connection.reply(&header, &one).await.expect("answered");
                    }
                    networks += 1;
                }
                Some("RemoveMatch") => {
                    ended.push(text_of(&call));
                    bus.connection.reply(&header, &()).await.expect("answered");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ended, std::slice::from_ref(&rule));
        rule
    };
    let (networks, rule) = tokio::join!(manager.scan(), air);
    let networks = networks.expect("a list");
    assert_eq!(networks.len(), 1, "one is an access point of a friend, one has left: {networks:?}");
    assert_eq!((networks[0].ssid.as_bytes(), networks[0].signal), (&b"Zu\xffHause"[..], 100));
    assert!(rule.ends_with(&format!("arg0='{WIRELESS}'")), "{rule}");
}

#[tokio::test]
async fn a_scan_that_is_refused_or_dropped_leaves_no_rule_behind() {
    let (mut manager, mut bus) = Bus::with_manager().await;
    let air = async {
        bus.answer("AddMatch", &()).await;
        bus.refuse("RequestScan", "org.freedesktop.NetworkManager.Device.NotAllowed", "not again at once").await;
        for _ in 0..2 {
            let call = bus.calls.next().await.expect("a call").expect("a message");
            let header = call.header();
            match header.member().map(|member| member.as_str()) {
                Some("GetAllAccessPoints") => {
                    bus.connection.reply(&header, &Vec::<ObjectPath<'_>>::new()).await.expect("answered");
                }
                Some("RemoveMatch") => bus.connection.reply(&header, &()).await.expect("answered"),
                other => panic!("{other:?}"),
            }
        }
    };
    let (networks, ()) = tokio::join!(manager.scan(), air);
    assert_eq!(networks.expect("a list").len(), 0);

    // Dropped while the bus is still to answer that it knows the rule.
    let call = tokio::select! {
        _ = manager.scan() => panic!("nobody has answered"),
        call = bus.called("AddMatch") => call,
    };
    bus.connection.reply(&call.header(), &()).await.expect("answered");
    let removed = bus.answer("RemoveMatch", &()).await;
    assert_eq!(text_of(&removed), text_of(&call));
}
