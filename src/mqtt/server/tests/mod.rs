//! Scripts of bytes, and the full list of what a session makes of them.

mod packets;
mod random;

use std::time::Instant;

use self::packets::*;
use super::*;

/// Lets in `user`/`pass`, who publishes to `to` and subscribes to `from`.
struct OneUser {
    may_subscribe: bool,
}

impl Policy for OneUser {
    fn connect(&mut self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        match (request.user, request.password) {
            (Some("user"), Some(b"pass")) => Ok(()),
            (Some("busy"), Some(b"pass")) => Err(Refusal::Busy),
            _ => Err(Refusal::BadCredentials),
        }
    }

    fn assign_client_id(&mut self) -> String {
        "given".into()
    }

    fn may_publish(&self, topic: &str) -> bool {
        topic == "to"
    }

    fn may_subscribe(&self, topic: &str) -> bool {
        self.may_subscribe && topic == "from"
    }
}

struct Script {
    session: Session,
    policy: OneUser,
    now: Instant,
}

impl Script {
    fn new() -> Self {
        let now = Instant::now();
        Self { session: Session::new(SessionLimits::default(), now), policy: OneUser { may_subscribe: true }, now }
    }

    /// A session that is logged in, its CONNACK taken away.
    fn logged_in(version: u8) -> Self {
        let mut script = Self::new();
        let connack = script.says(&connect(version, "me", &[], 60));
        assert_eq!(connack[0], 0x20);
        assert_eq!(script.events(), ["connected me"]);
        script
    }

    /// The client sends; the session's answer is returned and counts as written.
    fn says(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.session.handle_bytes(bytes, self.now, &mut self.policy);
        self.written()
    }

    fn written(&mut self) -> Vec<u8> {
        let output = self.session.output().to_vec();
        self.session.handle_written(output.len(), self.now);
        output
    }

    fn publishes(&mut self, payload: &[u8], qos: Qos) -> Delivery {
        self.session.publish("from", payload, qos, self.now, &self.policy)
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_deadline(self.now);
    }

    fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.session.poll_event())
            .map(|event| match event {
                Event::Connected { client_id } => format!("connected {client_id}"),
                Event::Subscribed { topic } => format!("subscribed {topic}"),
                Event::Unsubscribed { topic } => format!("unsubscribed {topic}"),
                Event::Published(publication) => {
                    format!("published {} {}", publication.topic(), String::from_utf8_lossy(publication.payload()))
                }
                Event::Acknowledged => "acknowledged".into(),
                Event::Rejected(rejection) => format!("rejected {rejection:?}"),
            })
            .collect()
    }
}

#[test]
fn the_client_chooses_the_version() {
    let mut script = Script::new();
    assert_eq!(script.says(&connect(4, "me", &[], 60)), b"\x20\x02\x00\x00");
    assert_eq!(script.events(), ["connected me"]);

    let mut script = Script::new();
    // Receive maximum 16, maximum packet size 8192, and nothing of what SecT does not have.
    let properties = b"\x24\x01\x25\x00\x28\x00\x29\x00\x2a\x00\x27\x00\x00\x20\x00\x21\x00\x10";
    let connack = [&[0x20, 21, 0, 0, 18], &properties[..]].concat();
    assert_eq!(script.says(&connect(5, "me", &[], 60)), connack);
    assert_eq!(script.events(), ["connected me"]);

    let mut script = Script::new();
    assert_eq!(script.says(&connect(3, "me", &[], 60)), b"");
    assert_eq!(script.session.closing(), Some(CloseReason::NotConnect));
}

#[test]
fn a_packet_may_come_in_any_pieces() {
    for version in [4, 5] {
        let mut whole = Script::new();
        let mut pieces = Script::new();
        let bytes = [
            connect(version, "me", &[], 60),
            subscribe(version, 7, &[("from", 1)]),
            publish(version, 2, "to", 9, b"hello"),
            PINGREQ.to_vec(),
        ]
        .concat();
        let answer = whole.says(&bytes);
        let answers: Vec<u8> = bytes.iter().flat_map(|byte| pieces.says(&[*byte])).collect();
        assert_eq!(answer, answers);
        let events = ["connected me", "subscribed from", "published to hello"];
        assert_eq!(
            (whole.events(), pieces.events()),
            (events.map(String::from).to_vec(), events.map(String::from).to_vec())
        );
    }
}

#[test]
fn wrong_credentials_are_refused() {
    for (flags, fields) in [
        (0xc2, vec![string("me"), string("user"), string("past")]),
        (0x82, vec![string("me"), string("user")]),
        (0x02, vec![string("me")]),
    ] {
        let mut script = Script::new();
        assert_eq!(script.says(&connect_as(4, flags, &fields, &[], 60)), b"\x20\x02\x00\x04");
        assert_eq!(script.session.closing(), Some(CloseReason::Refused(Refusal::BadCredentials)));
        let mut script = Script::new();
        assert_eq!(script.says(&connect_as(5, flags, &fields, &[], 60)), b"\x20\x03\x00\x86\x00");
        assert_eq!(script.session.closing(), Some(CloseReason::Refused(Refusal::BadCredentials)));
        assert!(script.events().is_empty());
    }
    let busy = [string("me"), string("busy"), string("pass")];
    assert_eq!(Script::new().says(&connect_as(4, 0xc2, &busy, &[], 60)), b"\x20\x02\x00\x03");
    assert_eq!(Script::new().says(&connect_as(5, 0xc2, &busy, &[], 60)), b"\x20\x03\x00\x97\x00");
}

#[test]
fn a_will_is_refused() {
    let fields = [string("me"), string("to"), string("bye"), string("user"), string("pass")];
    let mut script = Script::new();
    assert_eq!(script.says(&connect_as(4, 0xc6, &fields, &[], 60)), b"\x20\x02\x00\x05");
    assert_eq!(script.session.closing(), Some(CloseReason::Refused(Refusal::NotAuthorized)));
    let fields = [string("me"), vec![0], string("to"), string("bye"), string("user"), string("pass")];
    let mut script = Script::new();
    assert_eq!(script.says(&connect_as(5, 0xc6, &fields, &[], 60)), b"\x20\x03\x00\x87\x00");
    assert_eq!(script.events(), [""; 0]);
}

#[test]
fn an_authentication_method_is_refused() {
    let mut script = Script::new();
    assert_eq!(script.says(&connect(5, "me", b"\x15\x00\x01x", 60)), b"\x20\x03\x00\x87\x00");
}

#[test]
fn a_client_without_a_name_gets_one() {
    let mut script = Script::new();
    let connack = script.says(&connect(5, "", &[], 60));
    assert!(connack.windows(8).any(|window| window == b"\x12\x00\x05given"), "{connack:02x?}");
    assert_eq!(script.events(), ["connected given"]);
    let mut script = Script::new();
    assert_eq!(script.says(&connect(4, "", &[], 60)), b"\x20\x02\x00\x00");
    assert_eq!(script.events(), ["connected given"]);
    // [MQTT-3.1.3-8]: not with a session that is to be kept.
    let fields = [string(""), string("user"), string("pass")];
    assert_eq!(Script::new().says(&connect_as(4, 0xc0, &fields, &[], 60)), b"\x20\x02\x00\x02");
}

#[test]
fn no_session_outlives_its_connection() {
    let fields = [string("me"), string("user"), string("pass")];
    assert_eq!(Script::new().says(&connect_as(4, 0xc0, &fields, &[], 60)), b"\x20\x02\x00\x00");
    let connack = Script::new().says(&connect_as(5, 0xc0, &fields, b"\x11\x00\x00\x0e\x10", 60));
    assert_eq!(connack[2..4], [0, 0], "session_present is false");
    assert!(connack.windows(5).any(|window| window == b"\x11\x00\x00\x00\x00"), "{connack:02x?}");
}

#[test]
fn a_second_connect_ends_the_session() {
    let mut script = Script::logged_in(4);
    assert_eq!(script.says(&connect(4, "me", &[], 60)), b"");
    assert_eq!(script.session.closing(), Some(CloseReason::Protocol));
    let mut script = Script::logged_in(5);
    assert_eq!(script.says(&connect(5, "me", &[], 60)), b"\xe0\x01\x82");
    assert_eq!(script.session.closing(), Some(CloseReason::Protocol));
}

#[test]
fn connect_comes_first_and_in_time() {
    let mut script = Script::new();
    assert_eq!(script.says(&publish(4, 0, "to", 0, b"x")), b"");
    assert_eq!(script.session.closing(), Some(CloseReason::NotConnect));
    let mut script = Script::new();
    script.says(&connect(4, "me", &[], 60)[..9]);
    assert_eq!(script.session.deadline(), Some(script.now + Duration::from_secs(5)));
    script.passes(Duration::from_millis(4999));
    assert_eq!(script.session.closing(), None);
    script.passes(Duration::from_millis(1));
    assert_eq!(script.session.closing(), Some(CloseReason::NoConnect));
}

#[test]
fn only_the_one_topic_is_published_to() {
    let mut script = Script::logged_in(4);
    assert_eq!(script.says(&publish(4, 0, "to", 0, b"a")), b"");
    assert_eq!(script.says(&publish(4, 0, "from", 0, b"b")), b"");
    assert_eq!(script.says(&publish(4, 2, "other", 5, b"c")), b"\x40\x02\x00\x05", "3.1.1 knows no refusal");
    assert_eq!(script.says(&publish(4, 2, "to", 6, b"d")), b"\x40\x02\x00\x06");
    let rejected = "rejected PublishTopic";
    assert_eq!(script.events(), ["published to a", rejected, rejected, "published to d"]);

    let mut script = Script::logged_in(5);
    assert_eq!(script.says(&publish(5, 2, "other", 5, b"c")), b"\x40\x03\x00\x05\x87");
    assert_eq!(script.says(&publish(5, 2, "to", 6, b"d")), b"\x40\x02\x00\x06");
    assert_eq!(script.says(&publish(5, 0, "to/#", 0, b"e")), b"");
    assert_eq!(script.events(), [rejected, "published to d", rejected]);
}

/// Reads whatever begins with the name of somebody who is still allowed.
struct Family {
    allowed: &'static str,
}

impl Policy for Family {
    fn connect(&mut self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn assign_client_id(&mut self) -> String {
        "given".into()
    }

    fn may_publish(&self, topic: &str) -> bool {
        self.may_subscribe(topic)
    }

    fn may_subscribe(&self, topic: &str) -> bool {
        topic.starts_with(self.allowed)
    }
}

#[test]
fn several_topics_fit_and_those_whose_right_is_gone_make_room() {
    let now = Instant::now();
    let limits = SessionLimits { subscriptions: 2, ..SessionLimits::default() };
    let mut session = Session::new(limits, now);
    let mut policy = Family { allowed: "" };
    let says = |session: &mut Session, bytes: &[u8], policy: &mut Family| {
        session.handle_bytes(bytes, now, policy);
        let output = session.output().to_vec();
        session.handle_written(output.len(), now);
        output
    };
    says(&mut session, &connect(4, "me", &[], 60), &mut policy);
    let asked = subscribe(4, 1, &[("a1", 0), ("b1", 0), ("b2", 0)]);
    assert_eq!(says(&mut session, &asked, &mut policy), b"\x90\x05\x00\x01\x00\x00\x80", "two fit");
    policy.allowed = "b";
    assert_eq!(session.publish("a1", b"x", Qos::AtMostOnce, now, &policy), Delivery::NotSubscribed);
    assert_eq!(says(&mut session, &subscribe(4, 2, &[("b2", 0)]), &mut policy), b"\x90\x03\x00\x02\x00");
    assert_eq!(
        (session.is_subscribed("a1"), session.is_subscribed("b1"), session.is_subscribed("b2")),
        (false, true, true)
    );
    let unsubscribed = std::iter::from_fn(|| session.poll_event())
        .filter(|event| matches!(event, Event::Unsubscribed { topic } if topic == "a1"))
        .count();
    assert_eq!(unsubscribed, 1);
}

#[test]
fn retained_messages_and_qos_2_end_the_session() {
    for (flags, reason, code) in [(1, CloseReason::Retained, 0x9a), (4, CloseReason::ExactlyOnce, 0x9b)] {
        let mut script = Script::logged_in(4);
        assert_eq!(script.says(&publish(4, flags, "to", 5, b"a")), b"");
        assert_eq!(script.session.closing(), Some(reason));
        let mut script = Script::logged_in(5);
        let both = [publish(5, flags, "to", 5, b"a"), publish(5, 0, "to", 0, b"b")].concat();
        assert_eq!(script.says(&both), [0xe0, 1, code]);
        assert_eq!(script.session.closing(), Some(reason));
        assert!(script.events().is_empty(), "nothing counts after the end");
    }
}

#[test]
fn only_the_one_topic_is_subscribed_to() {
    let topics = [("from", 2), ("to", 0), ("#", 0), ("+", 1), ("fro+", 0), ("$share/a/from", 0), ("from", 0)];
    let mut script = Script::logged_in(4);
    assert_eq!(script.says(&subscribe(4, 3, &topics)), b"\x90\x09\x00\x03\x01\x80\x80\x80\x80\x80\x00");
    let mut script = Script::logged_in(5);
    assert_eq!(script.says(&subscribe(5, 3, &topics)), b"\x90\x0a\x00\x03\x00\x01\x87\x87\x87\x87\x87\x00");
    let rejected = "rejected SubscribeTopic";
    let events = ["subscribed from", rejected, rejected, rejected, rejected, rejected, "subscribed from"];
    assert_eq!(script.events(), events);
    assert_eq!(script.publishes(b"x", Qos::AtMostOnce), Delivery::Queued);
}

#[test]
fn unsubscribing_ends_delivery() {
    let mut script = Script::logged_in(5);
    script.says(&subscribe(5, 3, &[("from", 0)]));
    assert_eq!(script.says(&unsubscribe(5, 4, &["from", "from"])), b"\xb0\x05\x00\x04\x00\x00\x11");
    assert_eq!(script.publishes(b"x", Qos::AtMostOnce), Delivery::NotSubscribed);
    let mut script = Script::logged_in(4);
    script.says(&subscribe(4, 3, &[("from", 0)]));
    assert_eq!(script.says(&unsubscribe(4, 4, &["from"])), b"\xb0\x02\x00\x04");
    assert_eq!(script.events(), ["subscribed from", "unsubscribed from"]);
    assert_eq!(script.written(), b"");
}

#[test]
fn ten_thousand_subscriptions_are_one() {
    let mut script = Script::logged_in(4);
    for round in 0..10_000_u16 {
        let topic = if round % 2 == 0 { "from".into() } else { format!("topic/{round}") };
        assert_eq!(script.says(&subscribe(4, 1, &[(&topic, 0)])).len(), 5);
        script.events();
    }
    assert_eq!(script.publishes(b"x", Qos::AtMostOnce), Delivery::Queued);
    assert_eq!(script.written(), b"\x30\x07\x00\x04fromx", "delivered once");
}

#[test]
fn a_right_taken_away_ends_delivery() {
    let mut script = Script::logged_in(4);
    script.says(&subscribe(4, 3, &[("from", 0)]));
    script.policy.may_subscribe = false;
    assert_eq!(script.publishes(b"x", Qos::AtMostOnce), Delivery::NotSubscribed);
}

#[test]
fn messages_arrive_at_the_lower_qos() {
    let mut script = Script::logged_in(4);
    assert_eq!(script.publishes(b"x", Qos::AtMostOnce), Delivery::NotSubscribed);
    script.says(&subscribe(4, 3, &[("from", 0)]));
    assert_eq!(script.publishes(b"x", Qos::AtLeastOnce), Delivery::Queued);
    assert_eq!(script.written(), b"\x30\x07\x00\x04fromx");
    script.says(&subscribe(4, 3, &[("from", 1)]));
    assert_eq!(script.publishes(b"x", Qos::AtMostOnce), Delivery::Queued);
    assert_eq!(script.written(), b"\x30\x07\x00\x04fromx");
    assert_eq!(script.publishes(b"x", Qos::AtLeastOnce), Delivery::Queued);
    assert_eq!(script.written(), b"\x32\x09\x00\x04from\x00\x01x");
    script.events();
    script.says(b"\x40\x02\x00\x01");
    assert_eq!(script.events(), ["acknowledged"]);
}

#[test]
fn a_receive_maximum_is_kept_and_the_rest_waits() {
    let mut script = Script::new();
    script.says(&connect(5, "me", b"\x21\x00\x01", 60));
    script.says(&subscribe(5, 3, &[("from", 1)]));
    script.events();
    for payload in [b"1", b"2", b"3"] {
        assert_eq!(script.publishes(payload, Qos::AtLeastOnce), Delivery::Queued);
    }
    assert_eq!(script.written(), b"\x32\x0a\x00\x04from\x00\x01\x001");
    assert_eq!(script.says(b"\x40\x02\x00\x01"), b"\x32\x0a\x00\x04from\x00\x01\x002");
    assert_eq!(script.says(b"\x40\x02\x00\x01"), b"\x32\x0a\x00\x04from\x00\x01\x003");
    assert!(script.events().is_empty());
    assert_eq!(script.says(b"\x40\x02\x00\x01"), b"");
    assert_eq!(script.events(), ["acknowledged"]);
}

#[test]
fn an_acknowledgement_of_nothing_ends_the_session() {
    let mut script = Script::logged_in(4);
    script.says(b"\x40\x02\x00\x01");
    assert_eq!(script.session.closing(), Some(CloseReason::Protocol));
    assert!(script.events().is_empty());
}

#[test]
fn who_never_acknowledges_is_given_up() {
    let mut script = Script::logged_in(4);
    script.says(&subscribe(4, 3, &[("from", 1)]));
    for _ in 0..32 {
        assert_eq!(script.publishes(b"x", Qos::AtLeastOnce), Delivery::Queued);
    }
    assert_eq!(script.publishes(b"x", Qos::AtLeastOnce), Delivery::Closing);
    assert_eq!(script.session.closing(), Some(CloseReason::SlowReader));
    assert_eq!(script.session.output(), b"");
}

#[test]
fn who_never_reads_is_given_up() {
    let mut script = Script::logged_in(4);
    script.says(&subscribe(4, 3, &[("from", 0)]));
    let sent = (0..).take_while(|_| script.publishes(&[7; 1000], Qos::AtMostOnce) == Delivery::Queued).count();
    assert_eq!(sent, 64 * 1024 / 1009);
    assert_eq!(script.session.closing(), Some(CloseReason::SlowReader));

    let mut script = Script::logged_in(4);
    script.says(&subscribe(4, 3, &[("from", 0)]));
    script.publishes(b"x", Qos::AtMostOnce);
    assert_eq!(script.session.deadline(), Some(script.now + Duration::from_secs(20)));
    script.now += Duration::from_secs(19);
    script.session.handle_written(1, script.now);
    script.session.handle_bytes(PINGREQ, script.now, &mut script.policy);
    script.passes(Duration::from_secs(19));
    assert_eq!(script.session.closing(), None);
    script.passes(Duration::from_secs(1));
    assert_eq!(script.session.closing(), Some(CloseReason::SlowReader));
}

#[test]
fn who_asks_without_reading_is_not_listened_to() {
    let mut script = Script::logged_in(4);
    let mut rounds = 0;
    while script.session.wants_input() {
        script.session.handle_bytes(&PINGREQ.repeat(100), script.now, &mut script.policy);
        rounds += 1;
    }
    assert_eq!(rounds, 82, "16 KiB of answers");
    assert_eq!(script.session.closing(), None);
    script.written();
    assert!(script.session.wants_input());
}

#[test]
fn silence_beyond_one_and_a_half_keep_alives_ends_the_session() {
    for (version, end) in [(4, &b""[..]), (5, b"\xe0\x01\x8d")] {
        let mut script = Script::logged_in(version);
        assert_eq!(script.session.deadline(), Some(script.now + Duration::from_secs(90)));
        script.passes(Duration::from_secs(89));
        assert_eq!(script.says(PINGREQ), PINGRESP);
        script.passes(Duration::from_secs(89));
        // A piece of a packet is no sign of life.
        assert_eq!(script.says(&PINGREQ[..1]), b"");
        script.passes(Duration::from_secs(1));
        assert_eq!(script.session.closing(), Some(CloseReason::KeepAlive));
        assert_eq!(script.written(), end);
        assert_eq!(script.session.deadline(), None);
    }
}

#[test]
fn a_5_0_client_is_told_its_keep_alive() {
    for asked in [0, 601, 65_535] {
        let mut script = Script::new();
        let connack = script.says(&connect(5, "me", &[], asked));
        assert!(connack.windows(3).any(|window| window == b"\x13\x02\x58"), "{connack:02x?}");
        assert_eq!(script.session.deadline(), Some(script.now + Duration::from_secs(900)));
    }
    let mut script = Script::new();
    script.says(&connect(4, "me", &[], 0));
    assert_eq!(script.session.deadline(), None);
}

#[test]
fn a_packet_beyond_the_limit_ends_the_session_before_it_is_read() {
    let mut script = Script::logged_in(4);
    let largest = publish(4, 0, "to", 0, &vec![b'x'; 8192 - 3 - 4]);
    assert_eq!(largest.len(), 8192);
    script.says(&largest);
    assert_eq!(script.session.closing(), None);
    assert_eq!(script.events().len(), 1);
    script.says(&publish(4, 0, "to", 0, &vec![b'x'; 8192 - 3 - 3])[..3]);
    assert_eq!(script.session.closing(), Some(CloseReason::TooLarge));
    let mut script = Script::logged_in(5);
    assert_eq!(script.says(b"\x30\xff\xff\xff\x7f"), b"\xe0\x01\x95");
    assert_eq!(script.session.closing(), Some(CloseReason::TooLarge));
    let mut script = Script::new();
    script.says(b"\x10\xff\x7f");
    assert_eq!(script.session.closing(), Some(CloseReason::TooLarge));
}

#[test]
fn a_client_gets_no_packet_beyond_its_own_limit() {
    let mut script = Script::new();
    script.says(&connect(5, "me", b"\x27\x00\x00\x00\x20", 60));
    script.says(&subscribe(5, 3, &[("from", 1)]));
    assert_eq!(script.publishes(&[7; 21], Qos::AtLeastOnce), Delivery::Queued);
    assert_eq!(script.written().len(), 32);
    assert_eq!(script.publishes(&[7; 22], Qos::AtLeastOnce), Delivery::TooLarge);
    // One that cannot even be let in.
    let mut script = Script::new();
    assert_eq!(script.says(&connect(5, "me", b"\x27\x00\x00\x00\x05", 60)), b"");
    assert!(script.session.closing().is_some());
    assert!(script.events().is_empty());
}

#[test]
fn topic_aliases_do_not_exist() {
    let mut script = Script::logged_in(5);
    let body = [&string("to")[..], b"\x03\x23\x00\x01x"].concat();
    assert_eq!(script.says(&packet(0x30, &body)), b"\xe0\x01\x94");
    // What the client offers is not used, and an offer of none is no reason to stop the daemon.
    for offer in [b"\x22\x00\x00", b"\x22\xff\xff"] {
        let mut script = Script::new();
        assert_eq!(script.says(&connect(5, "me", offer, 60))[0], 0x20);
        script.says(&subscribe(5, 3, &[("from", 0)]));
        for _ in 0..2 {
            script.publishes(b"x", Qos::AtMostOnce);
            assert_eq!(script.written(), b"\x30\x08\x00\x04from\x00x");
        }
    }
}

#[test]
fn good_bye_ends_the_session_and_keeps_what_came_before_it() {
    for version in [4, 5] {
        let mut script = Script::logged_in(version);
        let bytes = [publish(version, 0, "to", 0, b"last"), b"\xe0\x00".to_vec(), PINGREQ.to_vec()].concat();
        assert_eq!(script.says(&bytes), b"");
        assert_eq!(script.session.closing(), Some(CloseReason::ByClient));
        assert_eq!(script.events(), ["published to last"]);
    }
}

#[test]
fn packets_that_only_servers_send_end_the_session() {
    for bytes in
        [&b"\x20\x02\x00\x00"[..], b"\x90\x03\x00\x01\x00", b"\xb0\x02\x00\x01", PINGRESP, b"\x00\x00", b"\xf0\x00"]
    {
        for version in [4, 5] {
            let mut script = Script::logged_in(version);
            script.says(bytes);
            assert_eq!(script.session.closing(), Some(CloseReason::Protocol), "{bytes:02x?} in version {version}");
            assert!(script.events().is_empty());
        }
    }
}

#[test]
fn a_closed_session_writes_what_is_queued_and_the_reason() {
    let mut script = Script::logged_in(5);
    script.says(&subscribe(5, 3, &[("from", 0)]));
    script.publishes(b"x", Qos::AtMostOnce);
    script.session.close(CloseReason::TakenOver);
    script.session.close(CloseReason::Ended);
    assert_eq!(script.publishes(b"y", Qos::AtMostOnce), Delivery::Closing);
    assert!(!script.session.wants_input());
    assert_eq!(script.says(&publish(5, 0, "to", 0, b"late")), b"\x30\x08\x00\x04from\x00x\xe0\x01\x8e");
    assert_eq!(script.events(), ["subscribed from"]);
}
