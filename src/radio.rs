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

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// What a station makes of a radio that sends `reply` and hangs up.
    async fn join(reply: &str) -> Result<IpAddr, JoinError> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("radio.sock");
        let listener = UnixListener::bind(&path).expect("binds");
        let radio = async {
            let (mut station, _) = listener.accept().await.expect("a station");
            let asked: Association = read_line(&mut station).await.expect("a line");
            assert_eq!((asked.ssid.as_str(), asked.passphrase.as_str()), ("SecT-4F7K", "\"\\quoted\""));
            // The station may have left in the middle of a line that is too long.
            let _ = station.write_all(reply.as_bytes()).await;
        };
        let passphrase = SecretString::new("\"\\quoted\"".to_owned());
        tokio::join!(join_simulated(&path, "SecT-4F7K", &passphrase), radio).0
    }

    #[tokio::test]
    async fn the_three_answers_are_told_apart() {
        let address = join("{\"ok\":true,\"address\":\"127.0.4.1\"}\n").await.expect("in");
        assert_eq!(address, IpAddr::from([127, 0, 4, 1]));
        let refused = join("{\"ok\":false,\"reason\":\"wrong-password\"}\n").await;
        assert!(matches!(refused, Err(JoinError::WrongPassword)));
        let refused = join("{\"ok\":false,\"reason\":\"not-found\"}\n").await;
        assert!(matches!(refused, Err(JoinError::NotFound)));
    }

    #[tokio::test]
    async fn whatever_else_a_radio_says_is_no_answer() {
        for reply in [
            "",
            "\n",
            "{\"ok\":true,\"address\":\"127.0.4.1\"}",
            "{\"ok\":true}\n",
            "{\"ok\":false}\n",
            "{\"ok\":true,\"address\":\"127.0.4.1\",\"reason\":\"not-found\"}\n",
            "{\"ok\":true,\"address\":\"somewhere\"}\n",
            "{\"ok\":true,\"address\":\"127.0.4.1\",\"more\":1}\n",
            &"x".repeat(MAX_LINE * 100),
        ] {
            assert!(matches!(join(reply).await, Err(JoinError::NoAnswer)), "{reply:.60}");
        }
    }

    #[tokio::test]
    async fn an_unreadable_line_is_not_quoted() {
        let (mut near, mut far) = UnixStream::pair().expect("a pair");
        write_line(&mut far, &"hunter2").await.expect("sent");
        let error = read_line::<Association>(&mut near).await.err().expect("no association");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}
