//! A radio that is a Unix socket: stations join its access point by [`crate::radio`], and the
//! networks of the configuration are what it finds on the air.
//!
//! Its stations are strangers: each gets one line, a time limit and one of a few places.

use std::fs::{self, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::WifiReport;
use crate::proto::action::{JoinFailure, WifiEvent};
use crate::proto::operation::result::NetworkItem;
use crate::proto::passcode::Passcode;
use crate::proto::secret::SecretString;
use crate::proto::wifi::HomeNetwork;
use crate::radio::{Association, LINE_TIMEOUT, Refusal, Verdict, read_line, write_line};
use crate::thing::config::{NetworkConfig, WifiConfig};

/// Stations that are asking at the same time; further ones wait.
const MAX_STATIONS: usize = 8;

/// The fake radio.
#[derive(Debug)]
pub struct SimulatedRadio {
    path: PathBuf,
    address: IpAddr,
    join_delay: Duration,
    networks: Vec<NetworkConfig>,
    air: watch::Sender<Option<AccessPoint>>,
    stations: AbortHandle,
    /// What to report, and when.
    pending: Option<(Instant, WifiReport)>,
}

#[derive(Debug)]
struct AccessPoint {
    ssid: String,
    passphrase: SecretString,
    address: IpAddr,
}

impl SimulatedRadio {
    /// Opens the socket, inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or something that is no socket stands in its place.
    pub fn open(path: &Path, config: &WifiConfig) -> io::Result<Self> {
        Self::open_with_limit(path, config, LINE_TIMEOUT)
    }

    fn open_with_limit(path: &Path, config: &WifiConfig, limit: Duration) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
            // Left behind by a daemon that was killed.
            Ok(_) => fs::remove_file(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let (air, on_air) = watch::channel(None);
        let stations = tokio::spawn(serve(listener, on_air, limit)).abort_handle();
        Ok(Self {
            path: path.to_owned(),
            address: config.ap_address,
            join_delay: config.join_delay(),
            networks: config.networks.clone(),
            air,
            stations,
            pending: None,
        })
    }

    /// See [`super::Wifi::open_access_point`].
    pub fn open_access_point(&mut self, ssid: &str, passphrase: &Passcode) {
        self.air.send_replace(Some(AccessPoint {
            ssid: ssid.to_owned(),
            passphrase: SecretString::new(passphrase.expose().to_owned()),
            address: self.address,
        }));
        self.report(Duration::ZERO, WifiEvent::AccessPointUp, Some(self.address));
    }

    /// See [`super::Wifi::close`].
    pub fn close(&mut self) {
        self.air.send_replace(None);
        self.pending = None;
    }

    /// See [`super::Wifi::join`].
    pub fn join(&mut self, network: &HomeNetwork) {
        self.air.send_replace(None);
        let mut named = self.networks.iter().filter(|known| known.ssid == network.ssid).peekable();
        let (event, address) = if named.peek().is_none() {
            (WifiEvent::JoinFailed(JoinFailure::NotFound), None)
        } else {
            match named.find(|known| known.passphrase == network.psk) {
                Some(known) => (WifiEvent::Joined, Some(known.address)),
                None => (WifiEvent::JoinFailed(JoinFailure::WrongPassword), None),
            }
        };
        self.report(self.join_delay, event, address);
    }

    /// The networks of the configuration, all as strong as can be.
    pub fn seen(&self) -> Vec<NetworkItem> {
        let item = |known: &NetworkConfig| NetworkItem { ssid: known.ssid.clone(), signal: 100 };
        self.networks.iter().map(item).collect()
    }

    /// See [`super::Wifi::next`].
    pub async fn next(&mut self) -> WifiReport {
        let Some((when, report)) = self.pending else { return std::future::pending().await };
        sleep_until(when).await;
        self.pending = None;
        report
    }

    fn report(&mut self, delay: Duration, event: WifiEvent, address: Option<IpAddr>) {
        self.pending = Some((Instant::now() + delay, WifiReport { event, address }));
    }
}

impl Drop for SimulatedRadio {
    fn drop(&mut self) {
        self.stations.abort();
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes stations one after the other, a few at the same time.
async fn serve(listener: UnixListener, air: watch::Receiver<Option<AccessPoint>>, limit: Duration) {
    let mut stations = JoinSet::new();
    loop {
        while stations.len() >= MAX_STATIONS {
            stations.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((station, _)) => {
                    stations.spawn(answer(station, air.clone(), limit));
                }
                Err(error) => {
                    tracing::debug!(%error, "no station");
                    // Out of file descriptors: they come back when others leave.
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = stations.join_next() => {}
        }
    }
}

async fn answer(mut station: UnixStream, air: watch::Receiver<Option<AccessPoint>>, limit: Duration) {
    let answered = timeout(limit, async {
        let asked: Association = read_line(&mut station).await?;
        let verdict = judge(air.borrow().as_ref(), &asked);
        tracing::debug!(ok = verdict.ok, reason = ?verdict.reason, "a station asked to join");
        write_line(&mut station, &verdict).await
    });
    if !matches!(answered.await, Ok(Ok(()))) {
        tracing::debug!("a station that did not ask properly");
    }
}

fn judge(access_point: Option<&AccessPoint>, asked: &Association) -> Verdict {
    match access_point {
        Some(open) if open.ssid == asked.ssid => {
            if open.passphrase == SecretString::new(asked.passphrase.clone()) {
                Verdict::joined(open.address)
            } else {
                Verdict::refused(Refusal::WrongPassword)
            }
        }
        Some(_) | None => Verdict::refused(Refusal::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::radio::{JoinError, MAX_LINE, join_simulated};

    const AP_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 4, 1));
    const HOME_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn radio(dir: &tempfile::TempDir) -> (SimulatedRadio, PathBuf) {
        radio_with_limit(dir, LINE_TIMEOUT)
    }

    fn radio_with_limit(dir: &tempfile::TempDir, limit: Duration) -> (SimulatedRadio, PathBuf) {
        let path = dir.path().join("radio.sock");
        let config = WifiConfig {
            ap_address: AP_ADDRESS,
            join_delay_ms: 20,
            networks: vec![NetworkConfig {
                ssid: "Zuhause".parse().expect("a name"),
                passphrase: "correct horse".parse().expect("a passphrase"),
                address: HOME_ADDRESS,
            }],
            ..WifiConfig::default()
        };
        (SimulatedRadio::open_with_limit(&path, &config, limit).expect("opens"), path)
    }

    fn passcode() -> Passcode {
        "0123456789ABCDEF".parse().expect("a passcode")
    }

    fn secret(text: &str) -> SecretString {
        SecretString::new(text.to_owned())
    }

    fn home(ssid: &str, psk: &str) -> HomeNetwork {
        HomeNetwork { ssid: ssid.parse().expect("a name"), psk: psk.parse().expect("a passphrase") }
    }

    #[tokio::test]
    async fn a_station_joins_with_name_and_passcode_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut radio, path) = radio(&dir);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let join = async |ssid: &str, passphrase: &str| join_simulated(&path, ssid, &secret(passphrase)).await;

        assert!(matches!(join("SecT-4F7K", "0123456789ABCDEF").await, Err(JoinError::NotFound)));
        radio.open_access_point("SecT-4F7K", &passcode());
        assert_eq!(radio.next().await, WifiReport { event: WifiEvent::AccessPointUp, address: Some(AP_ADDRESS) });
        assert!(matches!(join("SecT-4F7K", "0123456789ABCDEG").await, Err(JoinError::WrongPassword)));
        assert!(matches!(join("SecT-0000", "0123456789ABCDEF").await, Err(JoinError::NotFound)));
        assert_eq!(join("SecT-4F7K", "0123456789ABCDEF").await.expect("in"), AP_ADDRESS);
        radio.close();
        assert!(matches!(join("SecT-4F7K", "0123456789ABCDEF").await, Err(JoinError::NotFound)));
        drop(radio);
        assert!(matches!(join("SecT-4F7K", "0123456789ABCDEF").await, Err(JoinError::NoRadio(_))));
    }

    #[tokio::test]
    async fn joining_ends_as_the_network_would_end_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut radio, path) = radio(&dir);
        radio.open_access_point("SecT-4F7K", &passcode());
        for (network, event, address) in [
            (home("Zuhause", "correct horse"), WifiEvent::Joined, Some(HOME_ADDRESS)),
            (home("Zuhause", "wrong horse"), WifiEvent::JoinFailed(JoinFailure::WrongPassword), None),
            (home("Nirgends", "correct horse"), WifiEvent::JoinFailed(JoinFailure::NotFound), None),
        ] {
            let ordered = Instant::now();
            radio.join(&network);
            // The access point is gone at once; a wait that is dropped loses nothing.
            let join = join_simulated(&path, "SecT-4F7K", &secret("0123456789ABCDEF")).await;
            assert!(matches!(join, Err(JoinError::NotFound)));
            let _ = timeout(Duration::from_millis(1), radio.next()).await;
            assert_eq!(radio.next().await, WifiReport { event, address });
            assert!(ordered.elapsed() >= Duration::from_millis(20));
        }
    }

    #[tokio::test]
    async fn a_newer_order_replaces_the_report_of_an_older_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut radio, _) = radio(&dir);
        radio.join(&home("Zuhause", "correct horse"));
        radio.open_access_point("SecT-4F7K", &passcode());
        assert_eq!(radio.next().await.event, WifiEvent::AccessPointUp);
        assert!(timeout(Duration::from_millis(40), radio.next()).await.is_err());
    }

    #[tokio::test]
    async fn garbage_and_endless_lines_end_the_stranger_and_not_the_radio() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut radio, path) = radio(&dir);
        radio.open_access_point("SecT-4F7K", &passcode());
        for text in ["{}\n".to_owned(), "\n".to_owned(), "x".repeat(MAX_LINE * 4), "[".repeat(MAX_LINE - 1) + "\n"] {
            let mut stranger = UnixStream::connect(&path).await.expect("connects");
            let _ = stranger.write_all(text.as_bytes()).await;
            let mut reply = Vec::new();
            let _ = stranger.read_to_end(&mut reply).await;
            assert!(reply.is_empty(), "{text:?}");
        }
        let address = join_simulated(&path, "SecT-4F7K", &passcode_text()).await.expect("in");
        assert_eq!(address, AP_ADDRESS);
    }

    #[tokio::test]
    async fn strangers_who_say_nothing_hold_up_nobody_for_long() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut radio, path) = radio_with_limit(&dir, Duration::from_millis(50));
        radio.open_access_point("SecT-4F7K", &passcode());
        let mut silent = Vec::new();
        for _ in 0..MAX_STATIONS {
            silent.push(UnixStream::connect(&path).await.expect("connects"));
        }
        // Their time runs out one by one; the first place that comes free is taken.
        for stranger in &mut silent {
            let mut reply = Vec::new();
            stranger.read_to_end(&mut reply).await.expect("ended");
            assert!(reply.is_empty());
        }
        assert_eq!(join_simulated(&path, "SecT-4F7K", &passcode_text()).await.expect("in"), AP_ADDRESS);
    }

    fn passcode_text() -> SecretString {
        secret(passcode().expose())
    }
}
