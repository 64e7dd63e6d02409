//! The life of one session: a CONNECT, then publishing and subscribing, then the end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event as WireEvent};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos as WireQos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use mqtt_protocol_core::mqtt::{Connection, Version as WireVersion, role};

use super::connect::{FirstPacket, FirstPacketError};
use super::login::Login;
use super::open::{Open, is_wildcard};
use super::output::{self, Output};
use super::policy::{Policy, Refusal};
use super::reply::{self, Terms, Version};
use super::short::{Seen, Short};
use super::{Qos, SessionLimits};

/// One MQTT connection, server side.
pub struct Session {
    limits: SessionLimits,
    phase: Phase,
    connection: Connection<role::Server>,
    output: Output,
    events: VecDeque<Event>,
    /// When the last whole packet came in.
    heard: Instant,
    /// The library holds the beginning of a packet.
    amid_packet: bool,
    /// Since when the output has not moved; only meaningful while there is any.
    stalled: Instant,
}

enum Phase {
    /// Nobody has logged in yet.
    AwaitingConnect { first: FirstPacket, until: Instant },
    /// Logged in.
    Open(Open),
    /// Nothing that comes in counts any more; what is queued may still be written.
    Closing(CloseReason),
}

/// What has happened in a session.
#[derive(Debug)]
pub enum Event {
    /// The client has logged in.
    Connected {
        /// Its name, its own choice or the server's.
        client_id: String,
    },
    /// The client receives this topic from now on.
    Subscribed {
        /// The topic.
        topic: String,
    },
    /// The client does not receive this topic any more.
    Unsubscribed {
        /// The topic.
        topic: String,
    },
    /// The client has published to a topic that it may publish to.
    Published(Publication),
    /// Every QoS 1 message sent so far has been acknowledged.
    Acknowledged,
    /// Something that the client wanted was not done; the session goes on.
    Rejected(Rejection),
}

/// What is refused without ending the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// A publish to a topic that is not the client's, or to a wildcard.
    PublishTopic,
    /// A subscription to a topic that is not the client's, or to a wildcard.
    SubscribeTopic,
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said good-bye.
    ByClient,
    /// No CONNECT came in time.
    NoConnect,
    /// The first packet is no CONNECT, or not one that can be read.
    NotConnect,
    /// The CONNECT was refused.
    Refused(Refusal),
    /// The client was silent for one and a half times its keep-alive.
    KeepAlive,
    /// A retained message.
    Retained,
    /// A QoS 2 message.
    ExactlyOnce,
    /// A packet that breaks the rules of MQTT, a second CONNECT among them.
    Protocol,
    /// A packet beyond the size limit.
    TooLarge,
    /// The client does not read, or does not acknowledge, what it is sent.
    SlowReader,
    /// The same client has opened a new session.
    TakenOver,
    /// The server ends it.
    Ended,
}

/// What has become of a message to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It will be written.
    Queued,
    /// The client has not subscribed to its topic, or may not any more.
    NotSubscribed,
    /// It is larger than the client takes.
    TooLarge,
    /// The session is at its end.
    Closing,
}

/// A message that a client has published, as it lies in the packet.
pub struct Publication(Message);

enum Message {
    Short(Short),
    V3(v3_1_1::Publish),
    V5(v5_0::Publish),
}

impl Publication {
    /// The topic, one that the policy allows.
    #[must_use]
    pub fn topic(&self) -> &str {
        match &self.0 {
            Message::Short(short) => short.topic(),
            Message::V3(publish) => publish.topic_name(),
            Message::V5(publish) => publish.topic_name(),
        }
    }

    /// The message.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match &self.0 {
            Message::Short(short) => short.payload(),
            Message::V3(publish) => publish.payload().as_slice(),
            Message::V5(publish) => publish.payload().as_slice(),
        }
    }

    /// How it was published.
    #[must_use]
    pub fn qos(&self) -> Qos {
        // QoS 2 has ended the session.
        if self.wire_qos() == WireQos::AtMostOnce { Qos::AtMostOnce } else { Qos::AtLeastOnce }
    }

    fn wire_qos(&self) -> WireQos {
        match &self.0 {
            Message::Short(_) => WireQos::AtMostOnce,
            Message::V3(publish) => publish.qos(),
            Message::V5(publish) => publish.qos(),
        }
    }

    fn retain(&self) -> bool {
        match &self.0 {
            Message::Short(_) => false,
            Message::V3(publish) => publish.retain(),
            Message::V5(publish) => publish.retain(),
        }
    }

    fn packet_id(&self) -> Option<u16> {
        match &self.0 {
            Message::Short(_) => None,
            Message::V3(publish) => publish.packet_id(),
            Message::V5(publish) => publish.packet_id(),
        }
    }
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A topic holds a T_token, a payload may hold a key: neither belongs in a log.
        write!(f, "Publication({} bytes)", self.payload().len())
    }
}

impl Session {
    /// A session whose client has just connected.
    #[must_use]
    pub fn new(limits: SessionLimits, now: Instant) -> Self {
        let options = ConnectionOptions::new()
            .maximum_packet_size_recv(limits.packet_bytes)
            .receive_maximum(limits.unacknowledged.max(1));
        let first = FirstPacket::new(limits.connect_bytes);
        Self {
            limits,
            phase: Phase::AwaitingConnect { first, until: now + limits.connect_within },
            connection: Connection::with_options(WireVersion::Undetermined, options),
            output: Output::default(),
            events: VecDeque::new(),
            heard: now,
            amid_packet: false,
            stalled: now,
        }
    }

    /// Takes what the client has sent. Ask [`Session::poll_event`], [`Session::output`] and
    /// [`Session::closing`] afterwards.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Instant, policy: &mut impl Policy) {
        let was_idle = self.output.pending().is_empty();
        let rest = match &mut self.phase {
            Phase::AwaitingConnect { first, .. } => match first.collect(bytes) {
                Ok(None) => return,
                Ok(Some((packet, used))) => {
                    self.feed(&packet, now, policy);
                    &bytes[used..]
                }
                Err(FirstPacketError::TooLarge) => return self.end(CloseReason::TooLarge),
                Err(FirstPacketError::NotConnect | FirstPacketError::Malformed) => {
                    return self.end(CloseReason::NotConnect);
                }
            },
            Phase::Open(_) => bytes,
            Phase::Closing(_) => return,
        };
        self.feed(rest, now, policy);
        if was_idle {
            self.stalled = now;
        }
    }

    /// What has happened, until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What is to be written.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.pending()
    }

    /// `count` bytes of the output have been written.
    pub fn handle_written(&mut self, count: usize, now: Instant) {
        self.output.consume(count);
        self.stalled = now;
    }

    /// Whether more input is welcome: not while the client leaves its answers unread, so that asking
    /// without reading holds nobody but the asker.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        !matches!(self.phase, Phase::Closing(_)) && self.output.pending().len() < self.limits.queued_bytes / 4
    }

    /// Why the session ends, once it does. The output that is left may still be written.
    #[must_use]
    pub fn closing(&self) -> Option<CloseReason> {
        match &self.phase {
            Phase::Closing(reason) => Some(*reason),
            Phase::AwaitingConnect { .. } | Phase::Open(_) => None,
        }
    }

    /// Whether the client has logged in and nothing has ended the session since.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Whether a QoS 1 message waits for its acknowledgement, or to be sent at all.
    #[must_use]
    pub fn is_unacknowledged(&self) -> bool {
        // What waits to be sent does so behind others.
        matches!(&self.phase, Phase::Open(open) if open.unacknowledged > 0)
    }

    /// When [`Session::handle_deadline`] is due, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::AwaitingConnect { until, .. } => Some(*until),
            Phase::Open(open) => open.silence.map(|silence| self.heard + silence),
            Phase::Closing(_) => return None,
        };
        let stalled = (!self.output.pending().is_empty()).then(|| self.stalled + self.limits.stalled_for);
        [phase, stalled].into_iter().flatten().min()
    }

    /// The time has come, perhaps.
    pub fn handle_deadline(&mut self, now: Instant) {
        let reason = match &self.phase {
            Phase::AwaitingConnect { until, .. } if now >= *until => CloseReason::NoConnect,
            Phase::Open(open) if open.silence.is_some_and(|silence| now >= self.heard + silence) => {
                CloseReason::KeepAlive
            }
            Phase::AwaitingConnect { .. } | Phase::Open(_) => {
                if self.output.pending().is_empty() || now < self.stalled + self.limits.stalled_for {
                    return;
                }
                CloseReason::SlowReader
            }
            Phase::Closing(_) => return,
        };
        self.close(reason);
    }

    /// Whether the client receives what is published to `topic`.
    #[must_use]
    pub fn is_subscribed(&self, topic: &str) -> bool {
        matches!(&self.phase, Phase::Open(open) if open.subscribed(topic).is_some())
    }

    /// Sends a message to the client, at the lower of `qos` and what it subscribed with.
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: Qos, now: Instant, policy: &impl Policy) -> Delivery {
        let Phase::Open(open) = &mut self.phase else { return Delivery::Closing };
        let Some(granted) = open.subscribed(topic) else { return Delivery::NotSubscribed };
        if !policy.may_subscribe(topic) {
            return Delivery::NotSubscribed;
        }
        let v5 = open.version == Version::V5;
        // A QoS 1 message is two bytes longer.
        match output::publish_size(topic, payload, v5) {
            Some(size) if size + 2 <= open.packet_bytes => {}
            _ => return Delivery::TooLarge,
        }
        if self.output.pending().is_empty() {
            self.stalled = now;
        }
        match qos.min(granted) {
            Qos::AtMostOnce => self.output.push_publish(topic, payload, v5),
            Qos::AtLeastOnce if open.unacknowledged < open.receive_maximum && open.waiting.is_empty() => {
                self.publish_acknowledged(topic, payload);
            }
            Qos::AtLeastOnce if open.waiting.len() < self.limits.waiting => {
                open.waiting.push_back((topic.to_owned(), payload.to_vec()));
            }
            Qos::AtLeastOnce => self.close(CloseReason::SlowReader),
        }
        self.bound_output();
        if self.is_open() { Delivery::Queued } else { Delivery::Closing }
    }

    /// Ends the session. Nothing that comes in counts from here; what is queued, and for a 5.0 client
    /// the reason, remains to be written.
    pub fn close(&mut self, reason: CloseReason) {
        if let Phase::Open(open) = &self.phase
            && let Some(packet) = reply::disconnect(open.version, reason)
        {
            for event in self.connection.send(packet) {
                if let WireEvent::RequestSendPacket { packet, .. } = event {
                    self.output.push(&packet.to_continuous_buffer());
                }
            }
        }
        self.end(reason);
    }

    fn end(&mut self, reason: CloseReason) {
        if !matches!(self.phase, Phase::Closing(_)) {
            self.phase = Phase::Closing(reason);
        }
        if reason == CloseReason::SlowReader {
            self.output.clear();
        }
    }

    fn feed(&mut self, bytes: &[u8], now: Instant, policy: &mut impl Policy) {
        let mut cursor = Cursor::new(bytes);
        while cursor.position() < bytes.len() as u64 && self.closing().is_none() {
            let at = cursor.position();
            if let Some(used) = self.take_short_way(&bytes[at as usize..], now, policy) {
                cursor.set_position(at + used as u64);
                continue;
            }
            let events = self.connection.recv(&mut cursor);
            // A packet that is whole, or wrong, has an event at least.
            self.amid_packet = events.is_empty();
            for event in events {
                match event {
                    WireEvent::NotifyPacketReceived(packet) => {
                        self.heard = now;
                        self.handle_packet(packet, policy);
                    }
                    WireEvent::RequestSendPacket { packet, .. } => self.output.push(&packet.to_continuous_buffer()),
                    // What the library reports without asking for the end would leave it in doubt.
                    WireEvent::NotifyError(MqttError::PacketTooLarge) => self.end(CloseReason::TooLarge),
                    WireEvent::NotifyError(_) if self.is_open() => self.end(CloseReason::Protocol),
                    WireEvent::NotifyError(_) => self.end(CloseReason::NotConnect),
                    // An error follows or a refusal went before. Timers are this session's own, packet
                    // identifiers are counted at the PUBACK.
                    WireEvent::RequestClose
                    | WireEvent::NotifyPacketIdReleased(_)
                    | WireEvent::RequestTimerReset { .. }
                    | WireEvent::RequestTimerCancel(_) => {}
                }
            }
            self.bound_output();
        }
    }

    /// Takes a message at QoS 0 without the library; the bytes of its packet, if there is one.
    fn take_short_way(&mut self, bytes: &[u8], now: Instant, policy: &impl Policy) -> Option<usize> {
        let Phase::Open(open) = &self.phase else { return None };
        if self.amid_packet {
            return None;
        }
        let seen = Seen::at(bytes, open.version, self.limits.packet_bytes)?;
        self.heard = now;
        let event = if policy.may_publish(seen.topic) {
            Event::Published(Publication(Message::Short(seen.take())))
        } else {
            Event::Rejected(Rejection::PublishTopic)
        };
        self.events.push_back(event);
        Some(seen.packet_bytes)
    }

    fn handle_packet(&mut self, packet: Packet, policy: &mut impl Policy) {
        let open = match &mut self.phase {
            Phase::Open(open) => open,
            Phase::AwaitingConnect { .. } => return self.handle_connect(packet, policy),
            Phase::Closing(_) => return,
        };
        let version = open.version;
        match packet {
            Packet::V3_1_1Publish(publish) => self.handle_publish(Publication(Message::V3(publish)), policy),
            Packet::V5_0Publish(publish) => self.handle_publish(Publication(Message::V5(publish)), policy),
            Packet::V3_1_1Puback(_) | Packet::V5_0Puback(_) => self.handle_puback(),
            Packet::V3_1_1Subscribe(subscribe) => {
                let asked = subscribe.entries().iter().map(|entry| (entry.topic_filter(), entry.sub_opts().qos()));
                let (granted, events) = open.subscribe(asked, self.limits.subscriptions, policy);
                self.events.extend(events);
                self.send(reply::suback(version, subscribe.packet_id(), &granted));
            }
            Packet::V5_0Subscribe(subscribe) => {
                let asked = subscribe.entries().iter().map(|entry| (entry.topic_filter(), entry.sub_opts().qos()));
                let (granted, events) = open.subscribe(asked, self.limits.subscriptions, policy);
                self.events.extend(events);
                self.send(reply::suback(version, subscribe.packet_id(), &granted));
            }
            Packet::V3_1_1Unsubscribe(unsubscribe) => {
                let topics = unsubscribe.entries().iter().map(|topic| topic.as_str());
                let (existed, events) = open.unsubscribe(topics);
                self.events.extend(events);
                self.send(reply::unsuback(version, unsubscribe.packet_id(), &existed));
            }
            Packet::V5_0Unsubscribe(unsubscribe) => {
                let topics = unsubscribe.entries().iter().map(|topic| topic.as_str());
                let (existed, events) = open.unsubscribe(topics);
                self.events.extend(events);
                self.send(reply::unsuback(version, unsubscribe.packet_id(), &existed));
            }
            Packet::V3_1_1Pingreq(_) | Packet::V5_0Pingreq(_) => self.send(Some(reply::pingresp(version))),
            Packet::V3_1_1Disconnect(_) | Packet::V5_0Disconnect(_) => self.end(CloseReason::ByClient),
            // QoS 2 is refused before it begins, AUTH has no method, the rest only servers send.
            _ => self.close(CloseReason::Protocol),
        }
    }

    fn handle_connect(&mut self, packet: Packet, policy: &mut impl Policy) {
        let login = match &packet {
            Packet::V3_1_1Connect(connect) => Login::of_v3(connect),
            Packet::V5_0Connect(connect) => Login::of_v5(connect),
            // The first packet has been seen to be a CONNECT.
            _ => return self.end(CloseReason::NotConnect),
        };
        // Credentials first: only who knows them learns what else is wrong.
        let outcome = policy.connect(&login.request).and_then(|()| {
            if login.has_will || login.has_authentication_method {
                Err(Refusal::NotAuthorized)
            } else if login.version == Version::V3 && login.request.client_id.is_empty() && !login.clean {
                // [MQTT-3.1.3-8]
                Err(Refusal::ClientId)
            } else {
                Ok(())
            }
        });
        if let Err(refusal) = outcome {
            if let Some(packet) = reply::refusal(login.version, refusal) {
                for event in self.connection.send(packet) {
                    if let WireEvent::RequestSendPacket { packet, .. } = event {
                        self.output.push(&packet.to_continuous_buffer());
                    }
                }
            }
            return self.end(CloseReason::Refused(refusal));
        }
        let mut terms = Terms { wanted_expiry: login.wants_expiry, ..Terms::default() };
        let client_id = if login.request.client_id.is_empty() {
            let assigned = policy.assign_client_id();
            terms.assigned_client_id = Some(assigned.clone());
            assigned
        } else {
            login.request.client_id.to_owned()
        };
        let mut keep_alive_s = login.keep_alive_s;
        if login.version == Version::V5 && (keep_alive_s == 0 || keep_alive_s > self.limits.keep_alive_s) {
            keep_alive_s = self.limits.keep_alive_s;
            terms.keep_alive_s = Some(keep_alive_s);
        }
        self.phase = Phase::Open(Open {
            version: login.version,
            // [MQTT-3.1.2-24]
            silence: (keep_alive_s > 0).then(|| Duration::from_secs(u64::from(keep_alive_s)) * 3 / 2),
            packet_bytes: login.packet_bytes,
            receive_maximum: login.receive_maximum.min(self.limits.unacknowledged.max(1)),
            subscriptions: Vec::new(),
            unacknowledged: 0,
            waiting: VecDeque::new(),
        });
        self.send(reply::connack(login.version, terms));
        if self.is_open() {
            self.events.push_back(Event::Connected { client_id });
        }
    }

    fn handle_publish(&mut self, publication: Publication, policy: &impl Policy) {
        let Phase::Open(open) = &self.phase else { return };
        let version = open.version;
        if publication.retain() {
            return self.close(CloseReason::Retained);
        }
        if publication.wire_qos() == WireQos::ExactlyOnce {
            return self.close(CloseReason::ExactlyOnce);
        }
        let topic = publication.topic();
        let allowed = !is_wildcard(topic) && policy.may_publish(topic);
        if let Some(packet_id) = publication.packet_id() {
            self.send(reply::puback(version, packet_id, allowed));
        }
        let event = if allowed { Event::Published(publication) } else { Event::Rejected(Rejection::PublishTopic) };
        if self.is_open() {
            self.events.push_back(event);
        }
    }

    fn handle_puback(&mut self) {
        let Phase::Open(open) = &mut self.phase else { return };
        open.unacknowledged = open.unacknowledged.saturating_sub(1);
        if let Some((topic, payload)) = open.waiting.pop_front() {
            self.publish_acknowledged(&topic, &payload);
        } else if open.unacknowledged == 0 {
            self.events.push_back(Event::Acknowledged);
        }
    }

    /// Sends a QoS 1 message that there is room for.
    fn publish_acknowledged(&mut self, topic: &str, payload: &[u8]) {
        let Phase::Open(open) = &mut self.phase else { return };
        let Ok(packet_id) = self.connection.acquire_packet_id() else { return self.close(CloseReason::SlowReader) };
        open.unacknowledged += 1;
        let packet = reply::publish(open.version, packet_id, topic, payload);
        self.send(packet);
    }

    /// Sends a packet; one that cannot be sent ends the session.
    fn send(&mut self, packet: Option<Packet>) {
        let Some(packet) = packet else { return self.close(CloseReason::Protocol) };
        for event in self.connection.send(packet) {
            match event {
                WireEvent::RequestSendPacket { packet, .. } => self.output.push(&packet.to_continuous_buffer()),
                WireEvent::NotifyError(_) => self.end(CloseReason::Protocol),
                _ => {}
            }
        }
    }

    fn bound_output(&mut self) {
        if self.output.pending().len() > self.limits.queued_bytes {
            self.end(CloseReason::SlowReader);
        }
    }
}
