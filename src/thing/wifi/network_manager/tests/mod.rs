//! NetworkManager, played by the other end of a socket: it speaks D-Bus by `zbus` as well, and raw bytes where
//! no library writes what a stranger may.

mod link;
mod manager;
mod real_bus;
mod strangers;

use std::io::Write;
use std::time::Duration;

use futures_util::StreamExt;
use serde::Serialize;
use tokio::net::UnixStream;
use tokio::time::timeout;
use zbus::connection::Builder;
use zbus::{Connection, DynamicType, Guid, Message, MessageStream, ObjectPath, Variant};

use super::bus::Manager;
use super::link::{BUS, Link, LinkError};
use super::signals::{CONNECTION, DEVICE, NAME, PROPERTIES};
use super::trouble::Trouble;

/// The unique names of NetworkManager, of a stranger, and our own.
const OWNER: &str = ":1.5";
const STRANGER: &str = ":1.9";
const OURS: &str = ":1.7";
const PLUG_DEVICE: &str = "/org/freedesktop/NetworkManager/Devices/2";

/// The bus with NetworkManager on it.
struct Bus {
    connection: Connection,
    calls: MessageStream,
    /// The same socket.
    raw: std::os::unix::net::UnixStream,
}

impl Bus {
    /// A link, and the bus that let it in.
    async fn with_link() -> (Link, Self) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (link, bus) = tokio::join!(Link::over(ours), Self::let_in(theirs));
        (link.expect("let in"), bus)
    }

    async fn let_in(stream: UnixStream) -> Self {
        let stream = stream.into_std().expect("a socket");
        let raw = stream.try_clone().expect("a descriptor");
        let server = Builder::unix_stream(stream).server(Guid::generate()).p2p();
        let mut calls = server.build_message_stream().await.expect("a peer");
        let connection = Connection::from(&calls);
        let hello = calls.next().await.expect("a call").expect("a message");
        connection.reply(&hello.header(), &OURS).await.expect("answered");
        Self { connection, calls, raw }
    }

    /// A run of NetworkManager with one radio that was found on it.
    async fn with_manager() -> (Manager, Self) {
        let (link, mut bus) = Self::with_link().await;
        let (manager, ()) = tokio::join!(Manager::at(link, None), bus.be_found());
        (manager.expect("found"), bus)
    }

    /// There is one radio; what follows are the rules.
    async fn be_looked_at(&mut self) {
        self.answer("GetNameOwner", &OWNER).await;
        self.answer("GetDevices", &vec![path(PLUG_DEVICE)]).await;
        self.answer("Get", &Variant::U32(2)).await;
        self.answer("Get", &Variant::from("wlan0")).await;
    }

    async fn be_found(&mut self) {
        self.be_looked_at().await;
        for _ in 0..3 {
            self.answer("AddMatch", &()).await;
        }
        self.answer("GetNameOwner", &OWNER).await;
    }

    /// Waits for the next call, which has to be this one.
    async fn called(&mut self, member: &str) -> Message {
        let call = timeout(Duration::from_secs(20), self.calls.next()).await.expect("a call in time");
        let call = call.expect("a call").expect("a message");
        assert_eq!(call.header().member().map(|name| name.to_string()).as_deref(), Some(member));
        call
    }

    async fn answer<B: Serialize + DynamicType>(&mut self, member: &str, body: &B) -> Message {
        let call = self.called(member).await;
        self.connection.reply(&call.header(), body).await.expect("answered");
        call
    }

    async fn refuse(&mut self, member: &str, name: &str, text: &str) {
        let call = self.called(member).await;
        self.connection.reply_error(&call.header(), name, &text).await.expect("answered");
    }

    async fn say(&self, message: &Message) {
        self.connection.send(message).await.expect("said");
    }

    /// As it is on the wire.
    fn say_raw(&mut self, bytes: &[u8]) {
        // What is more than the socket holds is written while the other end reads.
        self.raw.set_nonblocking(false).expect("a socket");
        self.raw.write_all(bytes).expect("said");
        self.raw.set_nonblocking(true).expect("a socket");
    }

    /// That the link is there: a call is answered.
    async fn is_heard(&mut self, manager: &Manager) {
        let (state, _) = tokio::join!(manager.state(), self.answer("Get", &Variant::U32(100)));
        assert_eq!(state.expect("answered"), 100);
    }
}

fn path(text: &str) -> ObjectPath<'static> {
    ObjectPath::try_from(text.to_owned()).expect("a path")
}

/// The plug's device has another state.
fn device_state(sender: &str, state: u32, reason: u32) -> Message {
    let signal = Message::signal(PLUG_DEVICE, DEVICE, "StateChanged").sender(sender);
    signal.build(&(state, 0_u32, reason)).expect("a signal")
}

fn connection_state(sender: &str, path: &str, state: u32) -> Message {
    let signal = Message::signal(path, CONNECTION, "StateChanged").sender(sender);
    signal.build(&(state, 0_u32)).expect("a signal")
}

fn properties_changed(sender: &str, path: &str, interface: &str, key: &str) -> Message {
    let changed = std::collections::HashMap::from([(key, Variant::I64(1))]);
    let signal = Message::signal(path, PROPERTIES, "PropertiesChanged").sender(sender);
    signal.build(&(interface, changed, Vec::<&str>::new())).expect("a signal")
}

/// A name has another owner, or none.
fn owner_changed(sender: &str, name: &str, owner: &str) -> Message {
    let signal = Message::signal("/org/freedesktop/DBus", BUS, "NameOwnerChanged").sender(sender);
    signal.build(&(name, "", owner)).expect("a signal")
}
