//! A radio that is a Unix socket: stations join its access point by [`crate::radio`], and the
//! networks of the configuration are what it finds on the air, until a line in the FIFO beside it says
//! that one of them is gone: `off NAME`, and `on NAME` when it is back.
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
use crate::proto::wifi::{HomeNetwork, Ssid};
use crate::radio::{Association, LINE_TIMEOUT, Refusal, Verdict, read_line, write_line};
use crate::thing::config::{NetworkConfig, WifiConfig};
use crate::thing::fifo::Fifo;

/// Stations that are asking at the same time; further ones wait.
const MAX_STATIONS: usize = 8;

/// The fake radio.
#[derive(Debug)]
pub struct SimulatedRadio {
    path: PathBuf,
    address: IpAddr,
    join_delay: Duration,
    networks: Vec<NetworkConfig>,
    /// The names of those that are not on the air now.
    off: Vec<Ssid>,
    routers: Fifo,
    air: watch::Sender<Option<AccessPoint>>,
    stations: AbortHandle,
    order: Order,
}

#[derive(Debug)]
struct AccessPoint {
    ssid: String,
    passphrase: SecretString,
    address: IpAddr,
}

/// What the radio was told last, and how far it has come.
#[derive(Debug, Clone)]
enum Order {
    /// There is nothing to report.
    Rest,
    /// The access point is open, which was not reported yet.
    AccessPoint,
    /// It will know then whether the network takes it.
    Join { network: HomeNetwork, until: Instant },
    /// It is there.
    Stay { network: HomeNetwork },
    /// It was there; as soon as the network is back, so is the radio.
    Search { network: HomeNetwork },
}

impl SimulatedRadio {
    /// Opens the socket, and the FIFO in which routers come and go, inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When one of them cannot be opened, or something else stands in its place.
    pub fn open(path: &Path, routers: &Path, config: &WifiConfig) -> io::Result<Self> {
        Self::open_with_limit(path, routers, config, LINE_TIMEOUT)
    }

    fn open_with_limit(path: &Path, routers: &Path, config: &WifiConfig, limit: Duration) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
            // Left behind by a daemon that was killed.
            Ok(_) => fs::remove_file(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let routers = Fifo::open(routers)?;
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let (air, on_air) = watch::channel(None);
        let stations = tokio::spawn(serve(listener, on_air, limit)).abort_handle();
        Ok(Self {
            path: path.to_owned(),
            address: config.ap_address,
            join_delay: config.join_delay(),
            networks: config.networks.clone(),
            off: Vec::new(),
            routers,
            air,
            stations,
            order: Order::Rest,
        })
    }

    /// See [`super::Wifi::open_access_point`].
    pub fn open_access_point(&mut self, ssid: &str, passphrase: &Passcode) {
        self.air.send_replace(Some(AccessPoint {
            ssid: ssid.to_owned(),
            passphrase: SecretString::new(passphrase.expose().to_owned()),
            address: self.address,
        }));
        self.order = Order::AccessPoint;
    }

    /// See [`super::Wifi::close`].
    pub fn close(&mut self) {
        self.air.send_replace(None);
        self.order = Order::Rest;
    }

    /// See [`super::Wifi::join`].
    pub fn join(&mut self, network: &HomeNetwork) {
        self.air.send_replace(None);
        self.order = Order::Join { network: network.clone(), until: Instant::now() + self.join_delay };
    }

    /// The networks of the configuration, all as strong as can be.
    pub fn seen(&self) -> Vec<NetworkItem> {
        let item = |known: &NetworkConfig| NetworkItem { ssid: known.ssid.clone(), signal: 100 };
        self.networks.iter().map(item).collect()
    }

    /// See [`super::Wifi::next`].
    pub async fn next(&mut self) -> WifiReport {
        loop {
            let due = match &self.order {
                Order::AccessPoint => Some(Instant::now()),
                Order::Join { until, .. } => Some(*until),
                Order::Rest | Order::Stay { .. } | Order::Search { .. } => None,
            };
            let due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let report = tokio::select! {
                () = due => self.come_to_its_end(),
                line = self.routers.next_line() => self.handle_router(&line),
            };
            if let Some(report) = report {
                return report;
            }
        }
    }

    /// The order was carried out, as well as it can be.
    fn come_to_its_end(&mut self) -> Option<WifiReport> {
        match std::mem::replace(&mut self.order, Order::Rest) {
            Order::AccessPoint => Some(WifiReport { event: WifiEvent::AccessPointUp, address: Some(self.address) }),
            Order::Join { network, .. } => Some(match self.associate(&network) {
                Ok(address) => {
                    self.order = Order::Stay { network };
                    WifiReport { event: WifiEvent::Joined, address: Some(address) }
                }
                Err(failure) => WifiReport { event: WifiEvent::JoinFailed(failure), address: None },
            }),
            order @ (Order::Rest | Order::Stay { .. } | Order::Search { .. }) => {
                self.order = order;
                None
            }
        }
    }

    /// The thing's address in the network, if that takes it.
    fn associate(&self, network: &HomeNetwork) -> Result<IpAddr, JoinFailure> {
        let on_air = |known: &&NetworkConfig| known.ssid == network.ssid && !self.off.contains(&known.ssid);
        let mut named = self.networks.iter().filter(on_air).peekable();
        if named.peek().is_none() {
            return Err(JoinFailure::NotFound);
        }
        named.find(|known| known.passphrase == network.psk).map(|known| known.address).ok_or(JoinFailure::WrongPassword)
    }

    /// A router was switched off or on: `off NAME`, `on NAME`.
    fn handle_router(&mut self, line: &[u8]) -> Option<WifiReport> {
        let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (switched, name) = line.split_at(space);
        let known = self.networks.iter().map(|known| &known.ssid).find(|ssid| ssid.as_bytes() == name.trim_ascii());
        let Some(ssid) = known.cloned().filter(|_| matches!(switched, b"on" | b"off")) else {
            tracing::debug!("a line that switches no router");
            return None;
        };
        self.off.retain(|off| *off != ssid);
        match switched {
            b"off" => {
                self.off.push(ssid.clone());
                if let Order::Stay { network } = &self.order
                    && network.ssid == ssid
                {
                    self.order = Order::Search { network: network.clone() };
                    return Some(WifiReport { event: WifiEvent::Lost, address: None });
                }
            }
            _ => {
                if let Order::Search { network } = &self.order
                    && network.ssid == ssid
                {
                    self.order = Order::Join { network: network.clone(), until: Instant::now() + self.join_delay };
                }
            }
        }
        None
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
        let routers = dir.path().join("routers");
        (SimulatedRadio::open_with_limit(&path, &routers, &config, limit).expect("opens"), path)
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
            // On a busy machine it may be due already.
            let report = match timeout(Duration::from_millis(1), radio.next()).await {
                Ok(report) => report,
                Err(_) => radio.next().await,
            };
            assert_eq!(report, WifiReport { event, address });
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

    fn router(dir: &tempfile::TempDir, line: &str) {
        fs::write(dir.path().join("routers"), format!("{line}\n")).expect("written");
    }

    const JOINED: WifiReport = WifiReport { event: WifiEvent::Joined, address: Some(HOME_ADDRESS) };
    const LOST: WifiReport = WifiReport { event: WifiEvent::Lost, address: None };
    const NOT_FOUND: WifiReport = WifiReport { event: WifiEvent::JoinFailed(JoinFailure::NotFound), address: None };

    #[tokio::test]
    async fn a_network_that_goes_away_is_reported_lost_and_joined_again_when_it_is_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut radio, _) = radio(&dir);
        radio.join(&home("Zuhause", "correct horse"));
        assert_eq!(radio.next().await, JOINED);
        for _ in 0..2 {
            // What is no such line, and another router, are nothing to this network.
            for line in ["off Nirgends", "off", "", "offZuhause", "gone Zuhause", "on Zuhause", "off Zuhause"] {
                router(&dir, line);
            }
            assert_eq!(radio.next().await, LOST);
            router(&dir, "off Zuhause");
            assert!(timeout(Duration::from_millis(40), radio.next()).await.is_err(), "once is enough");
            router(&dir, "on Zuhause");
            assert_eq!(radio.next().await, JOINED);
        }
    }

    #[tokio::test]
    async fn a_network_that_is_off_is_not_found_and_keeps_no_other_order_up() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut radio, _) = radio(&dir);
        router(&dir, "off Zuhause");
        // The radio listens only while it is asked.
        assert!(timeout(Duration::from_millis(40), radio.next()).await.is_err());
        radio.join(&home("Zuhause", "correct horse"));
        assert_eq!(radio.next().await, NOT_FOUND);
        router(&dir, "on Zuhause");
        assert!(timeout(Duration::from_millis(40), radio.next()).await.is_err(), "it was told no more than that");
        radio.join(&home("Zuhause", "correct horse"));
        assert_eq!(radio.next().await, JOINED);
        router(&dir, "off Zuhause");
        assert_eq!(radio.next().await, LOST);
        // A newer order ends the search.
        radio.open_access_point("SecT-4F7K", &passcode());
        router(&dir, "on Zuhause");
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
