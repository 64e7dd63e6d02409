//! How an order is carried out: get the device ready, look at the air, activate, stay, begin again.

use std::convert::Infallible;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::argument::Profile;
use super::bus::Manager;
use super::profile;
use super::progress::{Activation, DEVICE_DISCONNECTED, Signal, Standing};
use super::trouble::Trouble;
use crate::proto::action::{JoinFailure, WifiEvent};
use crate::proto::operation::result::NetworkItem;
use crate::proto::passcode::Passcode;
use crate::proto::wifi::HomeNetwork;
use crate::thing::config::WifiConfig;
use crate::thing::wifi::WifiReport;
use crate::thing::wifi::addresses::AddressServer;

/// How long NetworkManager, its device and the supplicant may take to start, as after a boot.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long between two looks at it meanwhile.
const READY_AGAIN: Duration = Duration::from_secs(1);
/// How long an activation may take: NetworkManager itself gives up sooner.
const ACTIVATED_WITHIN: Duration = Duration::from_secs(120);
/// How old the list of networks may be when the access point opens.
const FRESH: Duration = Duration::from_secs(60);
/// The wait before a radio that does not work, or a network that is lost, is tried again; it doubles up to
/// [`MAX_AGAIN`].
const FIRST_AGAIN: Duration = Duration::from_secs(2);
const MAX_AGAIN: Duration = Duration::from_secs(30);
/// Where the kernel says which country it was told.
const KERNEL_COUNTRY: &str = "/sys/module/cfg80211/parameters/ieee80211_regdom";

/// What the radio shall do.
#[derive(Debug)]
pub(super) enum Order {
    /// Nothing.
    Rest,
    /// Be an access point.
    AccessPoint { ssid: String, passphrase: Passcode },
    /// Be in this network.
    Join(HomeNetwork),
}

/// The radio's own task.
#[derive(Debug)]
pub(super) struct Radio {
    interface: Option<String>,
    country: Option<String>,
    address: IpAddr,
    manager: Option<Manager>,
    reports: mpsc::UnboundedSender<(u64, WifiReport)>,
    seen: watch::Sender<Vec<NetworkItem>>,
    scanned: Option<Instant>,
    look: watch::Receiver<()>,
}

impl Radio {
    pub(super) fn new(
        config: &WifiConfig,
        reports: mpsc::UnboundedSender<(u64, WifiReport)>,
        seen: watch::Sender<Vec<NetworkItem>>,
        look: watch::Receiver<()>,
    ) -> Self {
        let (interface, country) = (config.interface.clone(), config.country.map(|country| country.to_string()));
        let address = config.ap_address;
        Self { interface, country, address, manager: None, reports, seen, scanned: None, look }
    }

    /// Does what it is told, until nobody is there to tell it.
    pub(super) async fn obey(mut self, mut orders: mpsc::UnboundedReceiver<(u64, Order)>) {
        self.check_country();
        let mut next = tokio::select! {
            next = orders.recv() => next,
            never = self.look_when_asked() => match never {},
        };
        while let Some((number, order)) = next {
            next = tokio::select! {
                next = orders.recv() => next,
                never = self.carry_out(number, &order) => match never {},
            };
        }
    }

    async fn carry_out(&mut self, number: u64, order: &Order) -> Infallible {
        match order {
            Order::Rest => {
                if let Err(trouble) = self.rest().await {
                    tracing::warn!("{trouble}");
                    self.forget(&trouble);
                }
                self.look_when_asked().await
            }
            Order::AccessPoint { ssid, passphrase } => self.be_access_point(number, ssid, passphrase).await,
            Order::Join(network) => self.be_in_network(number, network).await,
        }
    }

    async fn rest(&mut self) -> Result<(), Trouble> {
        self.ready().await?.leave().await
    }

    async fn be_access_point(&mut self, number: u64, ssid: &str, passphrase: &Passcode) -> Infallible {
        let mut again = FIRST_AGAIN;
        loop {
            let began = Instant::now();
            let Err(trouble) = self.access_point(number, ssid, passphrase).await;
            tracing::warn!("{trouble}");
            self.forget(&trouble);
            self.report(number, WifiEvent::AccessPointFailed, None);
            self.pause(&mut again, began).await;
        }
    }

    async fn access_point(&mut self, number: u64, ssid: &str, passphrase: &Passcode) -> Result<Infallible, Trouble> {
        self.look_around().await?;
        let address = self.address;
        let mut activation = self.activate(profile::access_point(ssid, passphrase, address)).await?;
        let manager = self.manager.as_mut().ok_or(Trouble::Ended)?;
        let addresses = match address {
            IpAddr::V4(address) => AddressServer::start(&manager.interface, address).map_err(Trouble::NoAddresses)?,
            IpAddr::V6(_) => return Err(Trouble::NoAddresses(std::io::ErrorKind::Unsupported.into())),
        };
        self.report(number, WifiEvent::AccessPointUp, Some(address));
        let manager = self.manager.as_mut().ok_or(Trouble::Ended)?;
        loop {
            let signal = manager.next().await;
            if let Err(trouble) = go_on(&mut activation, &signal) {
                drop(addresses);
                return Err(trouble);
            }
        }
    }

    async fn be_in_network(&mut self, number: u64, network: &HomeNetwork) -> Infallible {
        let mut been_there = false;
        let mut again = FIRST_AGAIN;
        loop {
            let began = Instant::now();
            let mut joined = false;
            let Err(trouble) = self.network(number, network, &mut joined).await;
            self.forget(&trouble);
            if joined {
                tracing::info!("the home network is lost: {trouble}");
                been_there = true;
                self.report(number, WifiEvent::Lost, None);
            } else {
                tracing::info!("the home network was not joined: {trouble}");
                let failure = trouble.join_failure();
                // Nobody but a person helps against another password.
                if !been_there || failure == JoinFailure::WrongPassword {
                    self.report(number, WifiEvent::JoinFailed(failure), None);
                    return self.look_when_asked().await;
                }
            }
            self.pause(&mut again, began).await;
        }
    }

    async fn network(&mut self, number: u64, network: &HomeNetwork, joined: &mut bool) -> Result<Infallible, Trouble> {
        self.ready().await?;
        let mut activation = self.activate(profile::station(network)).await?;
        let mut address = None;
        loop {
            let manager = self.manager.as_mut().ok_or(Trouble::Ended)?;
            let now = manager.address().await?;
            if now.is_some() && now != address {
                (address, *joined) = (now, true);
                self.report(number, WifiEvent::Joined, now);
                self.list().await;
            }
            self.stay(&mut activation).await?;
        }
    }

    /// Until the device may have another address.
    async fn stay(&mut self, activation: &mut Activation) -> Result<(), Trouble> {
        loop {
            let manager = self.manager.as_mut().ok_or(Trouble::Ended)?;
            tokio::select! {
                signal = manager.next() => {
                    go_on(activation, &signal)?;
                    if signal == Signal::Address {
                        return Ok(());
                    }
                }
                Ok(()) = self.look.changed() => {
                    let networks = manager.scan().await?;
                    self.seen.send_replace(networks);
                }
            }
        }
    }

    /// Looks at the air before the access point opens, which then cannot.
    async fn look_around(&mut self) -> Result<(), Trouble> {
        self.ready().await?;
        if self.scanned.is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(());
        }
        let manager = self.manager.as_mut().ok_or(Trouble::Ended)?;
        manager.leave().await?;
        let left = async {
            while manager.state().await? > DEVICE_DISCONNECTED {
                if manager.next().await == Signal::Ended {
                    return Err(Trouble::Ended);
                }
            }
            Ok(())
        };
        timeout(READY_WITHIN, left).await.map_err(|_| Trouble::TooLong)??;
        let networks = manager.scan().await?;
        tracing::info!(networks = networks.len(), "looked at the air");
        self.scanned = Some(Instant::now());
        self.seen.send_replace(networks);
        Ok(())
    }

    /// Has nothing to do but to look at the air when somebody wants to know.
    async fn look_when_asked(&mut self) -> Infallible {
        while self.look.changed().await.is_ok() {
            if let Err(trouble) = self.look_now().await {
                tracing::warn!("{trouble}");
                self.forget(&trouble);
            }
        }
        std::future::pending().await
    }

    async fn look_now(&mut self) -> Result<(), Trouble> {
        let networks = self.ready().await?.scan().await?;
        self.seen.send_replace(networks);
        Ok(())
    }

    /// Takes what NetworkManager has seen by itself.
    async fn list(&mut self) {
        if let Some(manager) = &self.manager
            && let Ok(networks) = manager.seen().await
        {
            self.seen.send_replace(networks);
        }
        self.look.mark_unchanged();
    }

    /// Activates a profile and waits until that has an address.
    async fn activate(&mut self, profile: Profile) -> Result<Activation, Trouble> {
        let manager = self.manager.as_mut().ok_or(Trouble::Ended)?;
        let mut activation = Activation::new(manager.activate(profile).await?);
        let up = async {
            loop {
                let signal = manager.next().await;
                if go_on(&mut activation, &signal)? == Standing::Up {
                    return Ok::<_, Trouble>(());
                }
            }
        };
        timeout(ACTIVATED_WITHIN, up).await.map_err(|_| Trouble::TooLong)??;
        Ok(activation)
    }

    /// NetworkManager, with a device that can be told to do something.
    async fn ready(&mut self) -> Result<&mut Manager, Trouble> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            match self.try_ready().await {
                Ok(()) => break,
                Err(trouble) if Instant::now() >= deadline => return Err(trouble),
                // Its processes start one after the other.
                Err(_) => sleep(READY_AGAIN).await,
            }
        }
        self.manager.as_mut().ok_or(Trouble::Ended)
    }

    async fn try_ready(&mut self) -> Result<(), Trouble> {
        let hears = self.manager.as_mut().is_some_and(Manager::forget_signals);
        let state = match &self.manager {
            Some(manager) if hears => manager.state().await,
            _ => Err(Trouble::Ended),
        };
        let state = match state {
            Ok(state) => state,
            // Another NetworkManager, or device, from here on.
            Err(_) => {
                self.manager = None;
                let manager = Manager::find(self.interface.as_deref()).await?;
                manager.take_over().await?;
                let state = manager.state().await?;
                tracing::info!(interface = manager.interface, "radio found");
                self.manager = Some(manager);
                state
            }
        };
        let manager = self.manager.as_ref().ok_or(Trouble::Ended)?;
        if state >= DEVICE_DISCONNECTED {
            return Ok(());
        }
        if !manager.is_switched_on().await? {
            if self.country.is_none() {
                return Err(Trouble::SwitchedOff);
            }
            manager.switch_on().await?;
        }
        Err(Trouble::NotReady { interface: manager.interface.clone(), state })
    }

    /// Until it is time to try again: at once if that which failed has worked for long.
    async fn pause(&mut self, again: &mut Duration, began: Instant) {
        if began.elapsed() > ACTIVATED_WITHIN {
            *again = FIRST_AGAIN;
        }
        sleep(*again).await;
        *again = (*again * 2).min(MAX_AGAIN);
    }

    /// Nothing more is heard of a NetworkManager that has ended.
    fn forget(&mut self, trouble: &Trouble) {
        if matches!(trouble, Trouble::Ended) {
            self.manager = None;
        }
    }

    fn report(&self, order: u64, event: WifiEvent, address: Option<IpAddr>) {
        // Where nobody listens, nobody waits.
        let _ = self.reports.send((order, WifiReport { event, address }));
    }

    /// A radio has to keep to the rules of its country, which root alone can tell the kernel.
    fn check_country(&self) {
        let Some(country) = &self.country else { return };
        let told = fs::read_to_string(KERNEL_COUNTRY).unwrap_or_default();
        if told.trim() != country {
            tracing::warn!(
                "the kernel was not told that the radio is in {country}: \
                 add cfg80211.ieee80211_regdom={country} to its command line"
            );
        }
    }
}

/// Whether the activation still is one, after a signal.
fn go_on(activation: &mut Activation, signal: &Signal) -> Result<Standing, Trouble> {
    if *signal == Signal::Ended {
        return Err(Trouble::Ended);
    }
    match activation.handle(signal) {
        Standing::Down(reason) => Err(Trouble::Down(reason)),
        standing @ (Standing::Begun | Standing::Up) => Ok(standing),
    }
}
