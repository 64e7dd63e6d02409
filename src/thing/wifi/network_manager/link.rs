//! A connection to the system bus: calls that wait for their answer. The crate `zbus` speaks D-Bus; here is
//! what a plug wants of it, and how long it waits.

use std::env;
use std::io;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zbus::connection::Builder;
use zbus::{Connection, DBusError, Structure, Variant};

use super::argument::Arguments;
use super::stream::Stream;

/// The bus itself, as a service.
pub(super) const BUS: &str = "org.freedesktop.DBus";

/// Where the system bus is, unless the environment says something else.
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// The environment variable that says something else (D-Bus specification, "Well-known Message Bus Instances").
const VARIABLE: &str = "DBUS_SYSTEM_BUS_ADDRESS";
/// How long an answer may take; polkit may have to start first.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long the bus may take to let us in.
const LET_IN_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum LinkError {
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

/// What an answer says.
pub(super) type Answer = Vec<Variant<'static>>;

/// A connection to the bus; what is called through a clone of it is called by the same party.
#[derive(Debug, Clone)]
pub(super) struct Link(Connection);

impl Link {
    /// Connects to the system bus, inside a tokio runtime.
    pub(super) async fn system() -> Result<Self, LinkError> {
        let address = env::var(VARIABLE).unwrap_or_default();
        let named = address.split(';').find_map(|one| one.strip_prefix("unix:path="));
        Self::open(Path::new(named.map_or(SYSTEM_BUS, |path| path.split(',').next().unwrap_or(path)))).await
    }

    /// Connects to the bus whose socket is there.
    pub(super) async fn open(path: &Path) -> Result<Self, LinkError> {
        let stream = timeout(LET_IN_WITHIN, UnixStream::connect(path)).await.map_err(|_| LinkError::NoAnswer)??;
        Self::over(stream).await
    }

    /// Has the bus at the other end let us in.
    pub(super) async fn over(stream: UnixStream) -> Result<Self, LinkError> {
        let letting_in = Builder::socket(Stream(stream)).method_timeout(ANSWER_WITHIN).build();
        Ok(Self(timeout(LET_IN_WITHIN, letting_in).await.map_err(|_| LinkError::NoAnswer)??))
    }

    /// Calls, and waits for the answer. Where this is dropped, the call is made all the same, and after those
    /// that came before it.
    pub(super) async fn call(
        &self,
        destination: &str,
        path: &str,
        interface: &'static str,
        member: &'static str,
        arguments: Arguments,
    ) -> Result<Answer, LinkError> {
        self.begin(destination, path, interface, member, arguments).await.map_err(|_| LinkError::Ended)?
    }

    /// The same, for who waits for it later.
    pub(super) fn begin(
        &self,
        destination: &str,
        path: &str,
        interface: &'static str,
        member: &'static str,
        arguments: Arguments,
    ) -> JoinHandle<Result<Answer, LinkError>> {
        let (connection, destination, path) = (self.0.clone(), destination.to_owned(), path.to_owned());
        tokio::spawn(async move {
            let called = connection.call_method(Some(destination), path, Some(interface), member, &arguments);
            let answer = timeout(ANSWER_WITHIN, called).await.map_err(|_| LinkError::NoAnswer)??;
            let body = answer.body();
            if body.is_empty() {
                return Ok(Vec::new());
            }
            let said: Structure<'_> = body.deserialize()?;
            let own = |value: Variant<'_>| Ok(value.try_into_owned()?.into());
            said.into_fields().into_iter().map(own).collect()
        })
    }

    /// The connection, for who listens to it.
    pub(super) const fn connection(&self) -> &Connection {
        &self.0
    }
}

impl From<zbus::Error> for LinkError {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => {
                Self::Refused { name: name.to_string(), text: text.unwrap_or_default() }
            }
            zbus::Error::FDO(error) => Self::Refused {
                name: error.name().to_string(),
                text: error.description().unwrap_or_default().to_owned(),
            },
            zbus::Error::InputOutput(error) if error.kind() == io::ErrorKind::TimedOut => Self::NoAnswer,
            zbus::Error::InputOutput(_) => Self::Ended,
            zbus::Error::Handshake(text) => Self::NoBus(io::Error::new(io::ErrorKind::PermissionDenied, text)),
            _ => Self::Unexpected,
        }
    }
}
