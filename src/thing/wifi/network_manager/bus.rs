//! What is asked of NetworkManager over the system bus, and what it says.

use std::net::IpAddr;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use zbus::{ObjectPath, Variant};

use super::argument::{Argument, Arguments, Profile, Setting, Settings};
use super::link::{Answer, BUS, Link, LinkError};
use super::profile;
use super::progress::Signal;
use super::signals::{DEVICE, Ear, IP4_CONFIG, NAME, PROPERTIES, Signals, WIRELESS};
use super::trouble::Trouble;
use super::value::{bytes, items, key, text, uint32};
use crate::proto::operation::result::NetworkItem;
use crate::proto::wifi::Ssid;

const BUS_PATH: &str = "/org/freedesktop/DBus";
const ROOT: &str = "/org/freedesktop/NetworkManager";
const ACCESS_POINT: &str = "org.freedesktop.NetworkManager.AccessPoint";

/// `NM_DEVICE_TYPE_WIFI`.
const TYPE_WIFI: u32 = 2;
/// `NM_802_11_MODE_INFRA`: a network that can be joined.
const MODE_INFRASTRUCTURE: u32 = 2;
/// How long a look at the air may take.
const SCANNED_WITHIN: Duration = Duration::from_secs(12);
/// Networks that are kept of one scan.
const MAX_NETWORKS: usize = 64;

/// One run of NetworkManager and our device there; when either ends, so does this.
#[derive(Debug)]
pub(super) struct Manager {
    service: Service,
    signals: Signals,
    device: String,
    /// The network interface.
    pub(super) interface: String,
    activating: Option<JoinHandle<Result<Answer, LinkError>>>,
}

/// Who is called.
#[derive(Debug, Clone)]
struct Service {
    link: Link,
    /// NetworkManager, by the name that nobody else can have: what is meant for this run of it does not reach
    /// the next one.
    owner: String,
}

impl Manager {
    /// Looks for NetworkManager and its Wi-Fi device: the named one, or the first.
    pub(super) async fn find(interface: Option<&str>) -> Result<Self, Trouble> {
        Self::at(Link::system().await.map_err(Trouble::NoBus)?, interface).await
    }

    /// The same, on this bus.
    pub(super) async fn at(link: Link, interface: Option<&str>) -> Result<Self, Trouble> {
        let owner = whose(&link).await?;
        let service = Service { link, owner };
        let (device, interface) = service.wifi_device(interface).await?;
        let ear = Ear { owner: service.owner.clone(), device: device.clone() };
        let signals = Signals::of_activations(&service.link, ear).await?;
        // One that ends from here on is heard, and one that ended before is not there any more.
        if whose(&service.link).await? != service.owner {
            return Err(Trouble::Ended);
        }
        Ok(Self { service, signals, device, interface, activating: None })
    }

    /// Nobody but us decides what the radio joins, not even a profile that the system image came with.
    pub(super) async fn take_over(&self) -> Result<(), Trouble> {
        self.service.set(&self.device, DEVICE, "Autoconnect", false).await
    }

    /// Waits for the next signal that concerns us. Dropping it half-way loses none.
    pub(super) async fn next(&mut self) -> Signal {
        self.signals.next().await
    }

    /// Before something is begun: what came while the radio rested is no part of it, and would take the place of what
    /// comes. False where nothing comes any more.
    pub(super) fn forget_signals(&mut self) -> bool {
        self.signals.forget()
    }

    /// `NMDeviceState`.
    pub(super) async fn state(&self) -> Result<u32, Trouble> {
        let state = self.service.get(&self.device, DEVICE, "State").await?;
        Ok(uint32(&state).ok_or(LinkError::Unexpected)?)
    }

    /// Whether the radio may send.
    pub(super) async fn is_switched_on(&self) -> Result<bool, Trouble> {
        Ok(self.service.get(ROOT, NAME, "WirelessEnabled").await? == Variant::Bool(true))
    }

    /// Lets the radio send.
    pub(super) async fn switch_on(&self) -> Result<(), Trouble> {
        self.service.set(ROOT, NAME, "WirelessEnabled", true).await
    }

    /// Begins to open or join a network, leaving any other; gives the object path of the connection.
    ///
    /// The call goes on where this is dropped, and ends before the next one begins: NetworkManager asks polkit
    /// in between, and what is told later could overtake it.
    pub(super) async fn activate(&mut self, profile: Profile) -> Result<String, Trouble> {
        self.settle().await;
        let (device, anything) = (Argument::Path(path(&self.device)?), Argument::Path(path("/")?));
        let options = Argument::Settings(profile::options());
        let arguments = Arguments(vec![Argument::Profile(profile), device, anything, options]);
        let called = self.service.link.begin(&self.service.owner, ROOT, NAME, "AddAndActivateConnection2", arguments);
        let answer = self.activating.insert(called).await;
        self.activating = None;
        let answer = answer.map_err(|_| Trouble::Ended)??;
        Ok(answer.get(1).and_then(text).ok_or(LinkError::Unexpected)?.to_owned())
    }

    async fn settle(&mut self) {
        if let Some(activating) = &mut self.activating {
            let _ = activating.await;
            self.activating = None;
        }
    }

    /// Leaves any network.
    pub(super) async fn leave(&mut self) -> Result<(), Trouble> {
        self.settle().await;
        match self.service.call(&self.device, DEVICE, "Disconnect", Arguments::default()).await {
            // There was none.
            Err(LinkError::Refused { name, .. }) if name.ends_with(".NotActive") => Ok(()),
            left => Ok(left.map(drop)?),
        }
    }

    /// The device's IPv4 address, if it has one.
    pub(super) async fn address(&self) -> Result<Option<IpAddr>, Trouble> {
        let config = self.service.get(&self.device, DEVICE, "Ip4Config").await?;
        let config = text(&config).ok_or(LinkError::Unexpected)?;
        if config == "/" {
            return Ok(None);
        }
        let all = self.service.get(config, IP4_CONFIG, "AddressData").await?;
        let Some(Variant::Dict(first)) = items(&all).first() else { return Ok(None) };
        Ok(key(first, "address").and_then(text).and_then(|address| address.parse().ok()))
    }

    /// Looks what is on the air, while the device is not an access point.
    pub(super) async fn scan(&mut self) -> Result<Vec<NetworkItem>, Trouble> {
        let ear = Ear { owner: self.service.owner.clone(), device: self.device.clone() };
        let mut done = Signals::of_scan(&self.service.link, ear).await?;
        let anything = Arguments(vec![Argument::Settings(Settings::new())]);
        match self.service.call(&self.device, WIRELESS, "RequestScan", anything).await {
            // Or NetworkManager has ended, which the next call says.
            Ok(_) => {
                if timeout(SCANNED_WITHIN, done.next()).await.is_err() {
                    tracing::debug!("the scan came to no end");
                }
            }
            // It looks by itself at times, and does not do so again at once.
            Err(LinkError::Refused { text, .. }) => tracing::debug!(text, "no scan of ours"),
            Err(error) => return Err(error.into()),
        }
        self.seen().await
    }

    /// What the last scan found.
    pub(super) async fn seen(&self) -> Result<Vec<NetworkItem>, Trouble> {
        let found = self.service.call(&self.device, WIRELESS, "GetAllAccessPoints", Arguments::default()).await?;
        let paths = items(found.first().ok_or(LinkError::Unexpected)?).iter().filter_map(text);
        let mut networks = Vec::new();
        for path in paths.take(MAX_NETWORKS) {
            // One that has left the air in the meantime has no properties.
            if let Ok(properties) = self.service.call(path, PROPERTIES, "GetAll", [ACCESS_POINT].into()).await {
                networks.extend(properties.first().and_then(network));
            }
        }
        Ok(networks)
    }
}

impl Service {
    /// The device with its interface.
    async fn wifi_device(&self, wanted: Option<&str>) -> Result<(String, String), Trouble> {
        let devices = self.call(ROOT, NAME, "GetDevices", Arguments::default()).await?;
        for device in items(devices.first().ok_or(LinkError::Unexpected)?).iter().filter_map(text) {
            if self.get(device, DEVICE, "DeviceType").await? != Variant::U32(TYPE_WIFI) {
                continue;
            }
            let interface = self.get(device, DEVICE, "Interface").await?;
            let interface = text(&interface).ok_or(LinkError::Unexpected)?;
            if wanted.is_none_or(|wanted| wanted == interface) {
                return Ok((device.to_owned(), interface.to_owned()));
            }
        }
        Err(Trouble::NoDevice(wanted.map(str::to_owned)))
    }

    async fn get(&self, path: &str, interface: &'static str, name: &'static str) -> Result<Variant<'static>, Trouble> {
        match self.call(path, PROPERTIES, "Get", [interface, name].into()).await?.pop() {
            Some(Variant::Variant(value)) => Ok(*value),
            _ => Err(LinkError::Unexpected.into()),
        }
    }

    async fn set(&self, path: &str, interface: &'static str, name: &'static str, value: bool) -> Result<(), Trouble> {
        let value = Argument::Value(Setting::Bool(value));
        let arguments = Arguments(vec![Argument::Name(interface), Argument::Name(name), value]);
        self.call(path, PROPERTIES, "Set", arguments).await?;
        Ok(())
    }

    async fn call(
        &self,
        path: &str,
        interface: &'static str,
        member: &'static str,
        arguments: Arguments,
    ) -> Result<Answer, LinkError> {
        self.link.call(&self.owner, path, interface, member, arguments).await
    }
}

/// Who is NetworkManager, by the name that the bus gave him.
async fn whose(link: &Link) -> Result<String, Trouble> {
    let owner = link.call(BUS, BUS_PATH, BUS, "GetNameOwner", [NAME].into()).await?;
    Ok(owner.first().and_then(text).ok_or(LinkError::Unexpected)?.to_owned())
}

fn path(path: &str) -> Result<ObjectPath<'static>, LinkError> {
    Ok(ObjectPath::try_from(path.to_owned())?)
}

/// An access point as a network that can be joined; hidden ones have no name to show.
fn network(properties: &Variant<'_>) -> Option<NetworkItem> {
    let Variant::Dict(properties) = properties else { return None };
    let Variant::U8(signal) = key(properties, "Strength")? else { return None };
    let can_be_joined = uint32(key(properties, "Mode")?)? == MODE_INFRASTRUCTURE;
    let ssid = Ssid::new(&bytes(key(properties, "Ssid")?)?).ok().filter(|_| can_be_joined)?;
    Some(NetworkItem { ssid, signal: (*signal).min(100) })
}
