//! Signals of NetworkManager's run that we talk to, in the order in which they come, and nobody else's.
//!
//! Anybody may send us signals. A rule names the sender by the name that the bus gave him, and what does not
//! come from him is dropped as it is read. `zbus` waits, and all answers with it, while the queue of a rule is
//! full. So a task takes out what comes at once and keeps what concerns us, of which there may be
//! [`MAX_QUEUED`]: more than that nobody here can have missed by being slow. Then the signals end, as they do
//! when the connection ends, and all begins anew with another connection; none is lost in between unnoticed.

use std::num::NonZeroUsize;
use std::pin::pin;

use futures_util::StreamExt;
use futures_util::stream::SelectAll;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream, Structure, Variant};

use super::link::{BUS, Link, LinkError};
use super::progress::{Reason, Signal};
use super::value::{key, text, uint32};

pub(super) const NAME: &str = "org.freedesktop.NetworkManager";
pub(super) const DEVICE: &str = "org.freedesktop.NetworkManager.Device";
pub(super) const WIRELESS: &str = "org.freedesktop.NetworkManager.Device.Wireless";
pub(super) const CONNECTION: &str = "org.freedesktop.NetworkManager.Connection.Active";
pub(super) const IP4_CONFIG: &str = "org.freedesktop.NetworkManager.IP4Config";
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Signals that wait to be asked for, at most.
pub(super) const MAX_QUEUED: usize = 256;
/// Messages of one rule that wait for the task that takes them out.
pub(super) const AT_ONCE: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not 0");

/// Who is listened to, and about what.
#[derive(Debug, Clone)]
pub(super) struct Ear {
    /// NetworkManager, by the name that the bus gave this run of it.
    pub(super) owner: String,
    /// Our device.
    pub(super) device: String,
}

/// What is heard by an [`Ear`].
#[derive(Debug)]
pub(super) struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    /// Begins to listen to what becomes of activations.
    pub(super) async fn of_activations(link: &Link, ear: Ear) -> Result<Self, LinkError> {
        let of_owner = format!("type='signal',sender='{}'", ear.owner);
        // Others of its signals would wake us each few seconds.
        let states = format!("{of_owner},member='StateChanged'");
        let addresses = format!("{of_owner},interface='{PROPERTIES}',arg0='{IP4_CONFIG}'");
        Self::begin(link, ear, vec![the_end(), states, addresses]).await
    }

    /// Begins to listen to what becomes of a scan.
    pub(super) async fn of_scan(link: &Link, ear: Ear) -> Result<Self, LinkError> {
        let scans = format!("type='signal',sender='{}',interface='{PROPERTIES}',arg0='{WIRELESS}'", ear.owner);
        Self::begin(link, ear, vec![the_end(), scans]).await
    }

    async fn begin(link: &Link, ear: Ear, rules: Vec<String>) -> Result<Self, LinkError> {
        let (queue, heard) = mpsc::channel(MAX_QUEUED);
        let (begun, listens) = oneshot::channel();
        let connection = link.connection().clone();
        // Where this is dropped, the bus is told first what is wanted, and then that it is not wanted any more.
        tokio::spawn(async move {
            let opened = ear.open(&connection, &rules, &queue).await;
            drop(connection);
            match opened {
                Ok(streams) => {
                    let _ = begun.send(Ok(()));
                    ear.listen(streams, &queue).await;
                }
                Err(error) => {
                    let _ = begun.send(Err(error));
                }
            }
        });
        listens.await.map_err(|_| LinkError::Ended)??;
        Ok(Self(heard))
    }

    /// Waits for the next one; the last one is that NetworkManager, or the connection, has ended. Dropping it
    /// half-way loses none.
    pub(super) async fn next(&mut self) -> Signal {
        self.0.recv().await.unwrap_or(Signal::Ended)
    }

    /// Forgets what nobody has asked for; false where an end was among it, so that there is nothing more to hear.
    pub(super) fn forget(&mut self) -> bool {
        loop {
            match self.0.try_recv() {
                Ok(Signal::Ended) | Err(TryRecvError::Disconnected) => return false,
                Ok(_) => {}
                Err(TryRecvError::Empty) => return true,
            }
        }
    }
}

/// The rule by which the bus says that NetworkManager ends, or begins.
fn the_end() -> String {
    format!("type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{NAME}'")
}

impl Ear {
    /// Has the bus let through what the rules say. What comes by the first of them meanwhile is taken out: the answer
    /// about the next one may stand behind it.
    async fn open(
        &self,
        connection: &Connection,
        rules: &[String],
        queue: &mpsc::Sender<Signal>,
    ) -> Result<SelectAll<MessageStream>, LinkError> {
        let mut streams = SelectAll::new();
        for rule in rules {
            let mut begun = pin!(MessageStream::for_match_rule(rule.as_str(), connection, Some(AT_ONCE)));
            let stream = loop {
                tokio::select! {
                    stream = &mut begun => break stream?,
                    Some(message) = streams.next() => self.keep(message, queue)?,
                }
            };
            streams.push(stream);
        }
        Ok(streams)
    }

    /// Until there is nothing more to hear, or nobody who wants to.
    async fn listen(&self, mut streams: SelectAll<MessageStream>, queue: &mpsc::Sender<Signal>) {
        loop {
            let message = tokio::select! {
                message = streams.next() => message,
                () = queue.closed() => return,
            };
            let Some(message) = message else { return };
            if self.keep(message, queue).is_err() {
                return;
            }
        }
    }

    fn keep(&self, message: zbus::Result<Message>, queue: &mpsc::Sender<Signal>) -> Result<(), LinkError> {
        let Some(signal) = self.hear(&message?) else { return Ok(()) };
        queue.try_send(signal).map_err(|_| {
            tracing::warn!("more signals of NetworkManager than can be kept");
            LinkError::Ended
        })
    }

    fn hear(&self, message: &Message) -> Option<Signal> {
        let (header, body) = (message.header(), message.body());
        if message.message_type() != Type::Signal {
            return None;
        }
        let (sender, path) = (header.sender()?.as_str(), header.path()?.as_str());
        let (interface, member) = (header.interface()?.as_str(), header.member()?.as_str());
        let said = body.deserialize::<Structure<'_>>().ok()?;
        match (interface, member, said.fields()) {
            (BUS, "NameOwnerChanged", [name, _, owner]) if sender == BUS => {
                (text(name)? == NAME && text(owner)? != self.owner).then_some(Signal::Ended)
            }
            _ if sender != self.owner => None,
            (DEVICE, "StateChanged", [state, _, reason]) if path == self.device => {
                Some(Signal::Device { state: uint32(state)?, reason: Reason(uint32(reason)?) })
            }
            (CONNECTION, "StateChanged", [state, _]) => {
                Some(Signal::Connection { path: path.to_owned(), state: uint32(state)? })
            }
            (PROPERTIES, "PropertiesChanged", [interface, Variant::Dict(changed), _]) => match text(interface)? {
                IP4_CONFIG => Some(Signal::Address),
                WIRELESS if path == self.device => key(changed, "LastScan").map(|_| Signal::Scanned),
                _ => None,
            },
            _ => None,
        }
    }
}
