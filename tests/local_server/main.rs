//! The local server over real sockets on the loopback interface (protocol section 3).

mod client;
mod crowd;
mod hello;
mod login;
mod sessions;
#[path = "../support/wire.rs"]
mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use sect::mqtt::server::Qos;
use sect::proto::secret::{Secret, SecretString};
use sect::thing::local_server::{Admission, Limits, LocalServer, Login, NewSessions, ServerEvent, WhenFull};

use self::client::Who;

pub(crate) const ALICE: Who =
    Who { identity: "alice-psk", key: [0xa1; 32], login: Some(("alice", "wonderland")), from: 1 };
pub(crate) const BOB: Who = Who { identity: "bob-psk", key: [0xb0; 32], login: Some(("bob", "builder")), from: 2 };
pub(crate) const PAIR: Who = Who { identity: "pair", key: [0x9a; 32], login: None, from: 3 };

/// Alice and Bob with topics of their own, and somebody who pairs.
pub(crate) fn admission(who: &Who) -> Admission {
    let (publish, subscribe) = topics(who);
    Admission {
        psk_identity: who.identity.into(),
        key: Secret::new(who.key),
        login: who
            .login
            .map(|(user, password)| Login { user: user.into(), password: SecretString::new(password.into()) }),
        publish,
        subscribe,
        max_sessions: 2,
        when_full: if who.login.is_some() { WhenFull::EndOldest } else { WhenFull::Refuse },
        new_sessions: NewSessions::Open,
    }
}

pub(crate) fn topics(who: &Who) -> (String, String) {
    match who.identity {
        "pair" => ("sect/pair/c".into(), "sect/pair/t".into()),
        identity => (format!("s/{identity}/c"), format!("s/{identity}/t")),
    }
}

pub(crate) fn generous() -> Limits {
    let rate = sect::thing::local_server::Rate { burst: 1_000_000, each_second: 1_000_000 };
    Limits { each_source: rate, all_sources: rate, ..Limits::default() }
}

/// A server with its address and what it has reported.
pub(crate) struct World {
    pub(crate) server: LocalServer,
    pub(crate) address: SocketAddr,
    pub(crate) log: Vec<String>,
}

impl World {
    pub(crate) async fn new(limits: Limits) -> Self {
        let mut server = LocalServer::new(limits).expect("a server");
        server.admit(vec![admission(&ALICE), admission(&BOB), admission(&PAIR)]);
        let address = server.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        Self { server, address, log: Vec::new() }
    }

    /// Runs the server, which answers each message with itself, until `client` is done.
    pub(crate) async fn run<T>(&mut self, client: impl Future<Output = T>) -> T {
        let patience = tokio::time::timeout(Duration::from_secs(60), client);
        tokio::pin!(patience);
        loop {
            tokio::select! {
                biased;
                event = self.server.next() => self.handle(event),
                outcome = &mut patience => return outcome.expect("no answer within a minute"),
            }
        }
    }

    /// Runs the server until it has reported `line`.
    pub(crate) async fn until(&mut self, line: &str) {
        let patience = tokio::time::sleep(Duration::from_secs(20));
        tokio::pin!(patience);
        while !self.log.iter().any(|logged| logged == line) {
            tokio::select! {
                event = self.server.next() => self.handle(event),
                () = &mut patience => panic!("never reported {line:?}: {:?}", self.log),
            }
        }
    }

    fn handle(&mut self, event: ServerEvent) {
        self.log.push(match event {
            ServerEvent::Opened { psk_identity, .. } => format!("opened {psk_identity}"),
            ServerEvent::Subscribed { .. } => "subscribed".into(),
            ServerEvent::Published { session, message } => {
                let (topic, answer) = message.topic().rsplit_once('/').expect("a topic of the tests");
                assert_eq!(answer, "c");
                let sent = self.server.publish_to(session, &format!("{topic}/t"), message.payload(), Qos::AtMostOnce);
                format!("published {} answered {sent}", String::from_utf8_lossy(message.payload()))
            }
            ServerEvent::Acknowledged { .. } => "acknowledged".into(),
            ServerEvent::Refused { psk_identity } => format!("refused {psk_identity}"),
            ServerEvent::Closed { .. } => "closed".into(),
        });
    }

    pub(crate) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}
