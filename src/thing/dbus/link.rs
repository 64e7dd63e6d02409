//! A connection to the system bus: calls that wait for their answer, and signals in the order in which they come.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::call::{Argument, Call};
use super::message::{FIXED, Kind, Message, Value};

/// The bus itself, as a service.
pub const BUS: Call<'static> = Call {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "",
};

/// Where the system bus is, unless the environment says something else.
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// How long an answer may take; polkit may have to start first.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long the bus may take to let us in.
const LET_IN_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a line in which the bus lets us in.
const MAX_LINE: usize = 512;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The bus cannot be reached, or does not let us in.
    #[error("{0}")]
    NoBus(#[from] io::Error),
    /// The connection has ended.
    #[error("the message bus has ended")]
    Ended,
    /// No answer in time.
    #[error("no answer")]
    NoAnswer,
    /// The answer is that it failed.
    #[error("{name}: {text}")]
    Refused {
        /// As in `org.freedesktop.DBus.Error.AccessDenied`.
        name: String,
        /// In words.
        text: String,
    },
    /// The answer is not what it has to be.
    #[error("an answer that is none")]
    Unexpected,
}

/// Calls that wait for their answer, by serial.
type Waiting = Arc<Mutex<HashMap<u32, oneshot::Sender<Message>>>>;

/// A connection to the bus; what is called through a clone of it is called by the same party.
#[derive(Debug, Clone)]
pub struct Link(Arc<Ends>);

#[derive(Debug)]
struct Ends {
    outgoing: mpsc::UnboundedSender<Zeroizing<Vec<u8>>>,
    waiting: Waiting,
    serial: Mutex<u32>,
    tasks: [AbortHandle; 2],
}

impl Link {
    /// Connects to the system bus, inside a tokio runtime; the receiver gets its signals, and ends with it.
    ///
    /// # Errors
    ///
    /// [`LinkError`].
    pub async fn system() -> Result<(Self, mpsc::UnboundedReceiver<Message>), LinkError> {
        let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
        let named = address.split(';').find_map(|one| one.strip_prefix("unix:path="));
        let path = named.map_or(SYSTEM_BUS, |path| path.split(',').next().unwrap_or(path));
        Self::open(&PathBuf::from(path)).await
    }

    /// Connects to the bus whose socket is there.
    ///
    /// # Errors
    ///
    /// [`LinkError`].
    pub async fn open(path: &std::path::Path) -> Result<(Self, mpsc::UnboundedReceiver<Message>), LinkError> {
        let mut stream = UnixStream::connect(path).await?;
        timeout(LET_IN_WITHIN, authenticate(&mut stream)).await.map_err(|_| LinkError::NoAnswer)??;
        let (reader, writer) = stream.into_split();
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let (heard, signals) = mpsc::unbounded_channel();
        let waiting = Waiting::default();
        let reading = tokio::spawn(read(reader, Arc::clone(&waiting), heard)).abort_handle();
        let writing = tokio::spawn(write(writer, to_send)).abort_handle();
        let link = Self(Arc::new(Ends { outgoing, waiting, serial: Mutex::new(0), tasks: [reading, writing] }));
        link.call(Call { member: "Hello", ..BUS }, &[]).await?;
        Ok((link, signals))
    }

    /// Calls, and waits for the answer. Where this is dropped, the call is made all the same, and after those
    /// that came before it.
    ///
    /// # Errors
    ///
    /// [`LinkError`].
    pub async fn call(&self, call: Call<'_>, arguments: &[Argument]) -> Result<Vec<Value>, LinkError> {
        let serial = {
            let mut last = self.0.serial.lock().unwrap_or_else(PoisonError::into_inner);
            *last = last.wrapping_add(1).max(1);
            *last
        };
        let (answer, answered) = oneshot::channel();
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(serial, answer);
        let sent = self.0.outgoing.send(call.to_bytes(serial, arguments));
        // Nobody answers to a link that has ended before this was put there.
        if sent.is_err() || self.0.tasks.iter().any(AbortHandle::is_finished) {
            return Err(LinkError::Ended);
        }
        let Ok(message) = timeout(ANSWER_WITHIN, answered).await else {
            self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&serial);
            return Err(LinkError::NoAnswer);
        };
        match message.map_err(|_| LinkError::Ended)? {
            Message { kind: Kind::Error { name, .. }, body, .. } => {
                let text = body.first().and_then(Value::text).unwrap_or_default().to_owned();
                Err(LinkError::Refused { name, text })
            }
            Message { body, .. } => Ok(body),
        }
    }

    /// Wants the signals that this rule describes, or wants them no more.
    ///
    /// # Errors
    ///
    /// [`LinkError`].
    pub async fn listen(&self, rule: &str, wanted: bool) -> Result<(), LinkError> {
        let member = if wanted { "AddMatch" } else { "RemoveMatch" };
        self.call(Call { member, ..BUS }, &[rule.into()]).await.map(drop)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// By the user that this process runs as, which the bus sees for itself.
async fn authenticate(stream: &mut UnixStream) -> io::Result<()> {
    let user = data_encoding::HEXLOWER.encode(rustix::process::geteuid().as_raw().to_string().as_bytes());
    stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes()).await?;
    // Byte by byte: what follows the line is none of it.
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await?);
        if line.len() > MAX_LINE {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    if !line.starts_with(b"OK ") {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    stream.write_all(b"BEGIN\r\n").await
}

async fn write(mut writer: OwnedWriteHalf, mut to_send: mpsc::UnboundedReceiver<Zeroizing<Vec<u8>>>) {
    while let Some(message) = to_send.recv().await {
        if let Err(error) = writer.write_all(&message).await {
            tracing::debug!(%error, "the message bus takes nothing more");
            return;
        }
    }
}

/// Ends with the connection: then nobody waits any longer.
async fn read(mut reader: OwnedReadHalf, waiting: Waiting, heard: mpsc::UnboundedSender<Message>) {
    loop {
        let message = match read_message(&mut reader).await {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(%error, "the message bus says nothing more");
                break;
            }
        };
        match &message.kind {
            Kind::Return { to } | Kind::Error { to, .. } => {
                let call = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(to);
                if let Some(call) = call {
                    // Who does not wait any longer needs no answer.
                    let _ = call.send(message);
                }
            }
            Kind::Signal { .. } => {
                let _ = heard.send(message);
            }
            Kind::Other => {}
        }
    }
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

async fn read_message(reader: &mut OwnedReadHalf) -> io::Result<Message> {
    let mut fixed = [0; FIXED];
    reader.read_exact(&mut fixed).await?;
    let length = Message::length(fixed).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    bytes[..FIXED].copy_from_slice(&fixed);
    reader.read_exact(&mut bytes[FIXED..]).await?;
    Message::read(&bytes).map_err(io::Error::other)
}
