//! The fake air: how a station joins the access point of a plug whose radio is simulated.
//!
//! The plug listens on a Unix socket in its runtime folder; a station sends one line of JSON and
//! gets one back. It stands for the Wi-Fi association of SecT STEP 1 and carries nothing else: what
//! follows goes over TCP to the address that comes back, as it would over a real radio.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::{Zeroize, Zeroizing};

use crate::proto::secret::SecretString;

/// Bytes of a line at most, its end included.
pub const MAX_LINE: usize = 512;
/// How long either side waits for the other's line.
pub const LINE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a station asks: to join this network.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Association {
    /// The network's name.
    pub ssid: String,
    /// What opens it.
    pub passphrase: String,
}

impl Drop for Association {
    fn drop(&mut self) {
        self.passphrase.zeroize();
    }
}

/// What the access point answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Whether the station is in.
    pub ok: bool,
    /// Where the access point is then reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Why it is not in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Refusal>,
}

/// Why a station was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The passphrase does not open it.
    WrongPassword,
    /// No such network is on the air.
    NotFound,
}

impl Verdict {
    /// The station is in.
    #[must_use]
    pub const fn joined(address: IpAddr) -> Self {
        Self { ok: true, address: Some(address), reason: None }
    }

    /// The station stays outside.
    #[must_use]
    pub const fn refused(reason: Refusal) -> Self {
        Self { ok: false, address: None, reason: Some(reason) }
    }
}

/// Why a station did not get in.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The network is not on the air.
    #[error("the network is not on the air")]
    NotFound,
    /// The network does not take the passphrase.
    #[error("the network does not take this password")]
    WrongPassword,
    /// No simulated radio listens there.
    #[error("no simulated radio listens there")]
    NoRadio(#[source] io::Error),
    /// The radio did not answer in time, or not in the expected form.
    #[error("the simulated radio gave no answer")]
    NoAnswer,
}

/// Joins the access point of the plug whose simulated radio listens at `path`, and returns the
/// plug's address there.
///
/// # Errors
///
/// [`JoinError`].
pub async fn join_simulated(path: &Path, ssid: &str, passphrase: &SecretString) -> Result<IpAddr, JoinError> {
    let mut stream = UnixStream::connect(path).await.map_err(JoinError::NoRadio)?;
    let association = Association { ssid: ssid.to_owned(), passphrase: passphrase.expose().to_owned() };
    let verdict = timeout(LINE_TIMEOUT, async {
        write_line(&mut stream, &association).await?;
        read_line::<Verdict>(&mut stream).await
    })
    .await;
    match verdict {
        Ok(Ok(Verdict { ok: true, address: Some(address), reason: None })) => Ok(address),
        Ok(Ok(Verdict { ok: false, reason: Some(Refusal::NotFound), .. })) => Err(JoinError::NotFound),
        Ok(Ok(Verdict { ok: false, reason: Some(Refusal::WrongPassword), .. })) => Err(JoinError::WrongPassword),
        Ok(_) | Err(_) => Err(JoinError::NoAnswer),
    }
}

/// Sends one value as one line.
///
/// # Errors
///
/// When the other side is gone, or the line would be longer than [`MAX_LINE`].
pub async fn write_line<T: Serialize>(stream: &mut UnixStream, value: &T) -> io::Result<()> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE));
    serde_json::to_writer(&mut *line, value)?;
    line.push(b'\n');
    if line.len() > MAX_LINE {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    stream.write_all(&line).await
}

/// Reads one value from one line; whatever follows it is not looked at.
///
/// # Errors
///
/// When the other side is gone, the line is longer than [`MAX_LINE`], or it is no such value.
pub async fn read_line<T: for<'de> Deserialize<'de>>(stream: &mut UnixStream) -> io::Result<T> {
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE));
    BufReader::with_capacity(MAX_LINE, stream.take(limit)).read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // The error of the parser may quote what it read, and that may be a passphrase.
    serde_json::from_slice(&line).map_err(|_| io::ErrorKind::InvalidData.into())
}
