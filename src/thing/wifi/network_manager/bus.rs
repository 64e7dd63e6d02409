//! What is asked of NetworkManager over the system bus, and what it says.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::profile::{self, Profile};
use super::progress::{Reason, Signal};
use super::trouble::Trouble;
use crate::proto::operation::result::NetworkItem;
use crate::proto::wifi::Ssid;
use crate::thing::dbus::{Argument, BUS, Call, Kind, Link, LinkError, Message, Settings, Value};

const NAME: &str = "org.freedesktop.NetworkManager";
const ROOT: &str = "/org/freedesktop/NetworkManager";
const DEVICE: &str = "org.freedesktop.NetworkManager.Device";
const WIRELESS: &str = "org.freedesktop.NetworkManager.Device.Wireless";
const ACCESS_POINT: &str = "org.freedesktop.NetworkManager.AccessPoint";
const CONNECTION: &str = "org.freedesktop.NetworkManager.Connection.Active";
const IP4_CONFIG: &str = "org.freedesktop.NetworkManager.IP4Config";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

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
    heard: mpsc::UnboundedReceiver<Message>,
    /// What was heard while something else was waited for.
    kept: VecDeque<Signal>,
    device: String,
    /// The network interface.
    pub(super) interface: String,
    activating: Option<JoinHandle<Result<Vec<Value>, LinkError>>>,
}

/// Who is called.
#[derive(Debug, Clone)]
struct Service {
    link: Link,
    /// NetworkManager, by the name that nobody else can have: what is meant for this run of it does not reach
    /// the next one.
    owner: String,
}

/// A signal of NetworkManager.
enum Heard {
    /// For who waits for an activation.
    Signal(Signal),
    /// The air was looked at.
    Scanned,
}

impl Manager {
    /// Looks for NetworkManager and its Wi-Fi device: the named one, or the first.
    pub(super) async fn find(interface: Option<&str>) -> Result<Self, Trouble> {
        let (link, heard) = Link::system().await.map_err(Trouble::NoBus)?;
        // Before it is asked for: one that ends in between is noticed.
        let ended = format!("type='signal',sender='{}',member='NameOwnerChanged',arg0='{NAME}'", BUS.destination);
        link.listen(&ended, true).await?;
        let owner = link.call(Call { member: "GetNameOwner", ..BUS }, &[NAME.into()]).await?;
        let owner = owner.first().and_then(Value::text).ok_or(LinkError::Unexpected)?.to_owned();
        // Anybody may send signals, but these are NetworkManager's own. Others of its signals would wake us
        // each few seconds.
        let of_owner = format!("type='signal',sender='{owner}'");
        link.listen(&format!("{of_owner},member='StateChanged'"), true).await?;
        link.listen(&format!("{of_owner},interface='{PROPERTIES}',arg0='{IP4_CONFIG}'"), true).await?;
        let service = Service { link, owner };
        let (device, interface) = service.wifi_device(interface).await?;
        Ok(Self { service, heard, kept: VecDeque::new(), device, interface, activating: None })
    }

    /// Nobody but us decides what the radio joins, not even a profile that the system image came with.
    pub(super) async fn take_over(&self) -> Result<(), Trouble> {
        self.service.set(&self.device, DEVICE, "Autoconnect", false).await
    }

    /// Waits for the next signal that concerns us. Dropping it half-way loses none.
    pub(super) async fn next(&mut self) -> Signal {
        if let Some(signal) = self.kept.pop_front() {
            return signal;
        }
        loop {
            if let Heard::Signal(signal) = self.hear().await {
                return signal;
            }
        }
    }

    async fn hear(&mut self) -> Heard {
        loop {
            let Some(message) = self.heard.recv().await else { return Heard::Signal(Signal::Ended) };
            if let Some(heard) = self.read(&message) {
                return heard;
            }
        }
    }

    fn read(&self, message: &Message) -> Option<Heard> {
        let Kind::Signal { path, interface, member } = &message.kind else { return None };
        let signal = match (interface.as_str(), member.as_str(), message.body.as_slice()) {
            (_, "NameOwnerChanged", [name, _, owner]) if message.sender == BUS.destination => {
                let is_another = name.text() == Some(NAME) && owner.text() != Some(&self.service.owner);
                return is_another.then_some(Heard::Signal(Signal::Ended));
            }
            _ if message.sender != self.service.owner => return None,
            (DEVICE, "StateChanged", [state, _, reason]) if *path == self.device => {
                Signal::Device { state: state.uint32()?, reason: Reason(reason.uint32()?) }
            }
            (CONNECTION, "StateChanged", [state, _]) => {
                Signal::Connection { path: path.clone(), state: state.uint32()? }
            }
            (PROPERTIES, _, [interface, changed, _]) => match interface.text()? {
                IP4_CONFIG => Signal::Address,
                WIRELESS if *path == self.device && changed.key("LastScan").is_some() => return Some(Heard::Scanned),
                _ => return None,
            },
            _ => return None,
        };
        Some(Heard::Signal(signal))
    }

    /// `NMDeviceState`.
    pub(super) async fn state(&self) -> Result<u32, Trouble> {
        let state = self.service.get(&self.device, DEVICE, "State").await?;
        Ok(state.uint32().ok_or(LinkError::Unexpected)?)
    }

    /// Whether the radio may send.
    pub(super) async fn is_switched_on(&self) -> Result<bool, Trouble> {
        Ok(self.service.get(ROOT, NAME, "WirelessEnabled").await? == Value::Bool(true))
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
        let (service, device) = (self.service.clone(), Argument::Path(self.device.clone()));
        let called = self.activating.insert(tokio::spawn(async move {
            let anything = Argument::Path("/".to_owned());
            let arguments = [Argument::Profile(profile), device, anything, Argument::Settings(profile::options())];
            service.call(ROOT, NAME, "AddAndActivateConnection2", &arguments).await
        }));
        let answer = called.await;
        self.activating = None;
        let answer = answer.map_err(|_| Trouble::Ended)??;
        Ok(answer.get(1).and_then(Value::text).ok_or(LinkError::Unexpected)?.to_owned())
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
        match self.service.call(&self.device, DEVICE, "Disconnect", &[]).await {
            // There was none.
            Err(LinkError::Refused { name, .. }) if name.ends_with(".NotActive") => Ok(()),
            left => Ok(left.map(drop)?),
        }
    }

    /// The device's IPv4 address, if it has one.
    pub(super) async fn address(&self) -> Result<Option<IpAddr>, Trouble> {
        let config = self.service.get(&self.device, DEVICE, "Ip4Config").await?;
        let config = config.text().ok_or(LinkError::Unexpected)?;
        if config == "/" {
            return Ok(None);
        }
        let all = self.service.get(config, IP4_CONFIG, "AddressData").await?;
        let first = all.items().first().and_then(|one| one.key("address")).and_then(Value::text);
        Ok(first.and_then(|address| address.parse().ok()))
    }

    /// Looks what is on the air, while the device is not an access point.
    pub(super) async fn scan(&mut self) -> Result<Vec<NetworkItem>, Trouble> {
        let owner = &self.service.owner;
        let rule = format!("type='signal',sender='{owner}',interface='{PROPERTIES}',arg0='{WIRELESS}'");
        self.service.link.listen(&rule, true).await?;
        match self.service.call(&self.device, WIRELESS, "RequestScan", &[Argument::Settings(Settings::new())]).await {
            Ok(_) => {
                let done = async {
                    while let Heard::Signal(signal) = self.hear().await {
                        let is_the_last = signal == Signal::Ended;
                        self.kept.push_back(signal);
                        if is_the_last {
                            break;
                        }
                    }
                };
                if timeout(SCANNED_WITHIN, done).await.is_err() {
                    tracing::debug!("the scan came to no end");
                }
            }
            // It looks by itself at times, and does not do so again at once.
            Err(LinkError::Refused { text, .. }) => tracing::debug!(text, "no scan of ours"),
            Err(error) => return Err(error.into()),
        }
        self.service.link.listen(&rule, false).await?;
        self.seen().await
    }

    /// What the last scan found.
    pub(super) async fn seen(&self) -> Result<Vec<NetworkItem>, Trouble> {
        let found = self.service.call(&self.device, WIRELESS, "GetAllAccessPoints", &[]).await?;
        let paths = found.first().ok_or(LinkError::Unexpected)?.items().iter().filter_map(Value::text);
        let mut items = Vec::new();
        for path in paths.take(MAX_NETWORKS) {
            // One that has left the air in the meantime has no properties.
            if let Ok(properties) = self.service.call(path, PROPERTIES, "GetAll", &[ACCESS_POINT.into()]).await {
                items.extend(properties.first().and_then(network));
            }
        }
        Ok(items)
    }
}

impl Service {
    /// The device with its interface.
    async fn wifi_device(&self, wanted: Option<&str>) -> Result<(String, String), Trouble> {
        let devices = self.call(ROOT, NAME, "GetDevices", &[]).await?;
        for device in devices.first().ok_or(LinkError::Unexpected)?.items().iter().filter_map(Value::text) {
            if self.get(device, DEVICE, "DeviceType").await? != Value::Uint32(TYPE_WIFI) {
                continue;
            }
            let interface = self.get(device, DEVICE, "Interface").await?;
            let interface = interface.text().ok_or(LinkError::Unexpected)?;
            if wanted.is_none_or(|wanted| wanted == interface) {
                return Ok((device.to_owned(), interface.to_owned()));
            }
        }
        Err(Trouble::NoDevice(wanted.map(str::to_owned)))
    }

    async fn get(&self, path: &str, interface: &str, name: &str) -> Result<Value, Trouble> {
        match self.call(path, PROPERTIES, "Get", &[interface.into(), name.into()]).await?.pop() {
            Some(Value::Variant(value)) => Ok(*value),
            _ => Err(LinkError::Unexpected.into()),
        }
    }

    async fn set(&self, path: &str, interface: &str, name: &str, value: bool) -> Result<(), Trouble> {
        let value = Argument::Variant(Box::new(Argument::Bool(value)));
        self.call(path, PROPERTIES, "Set", &[interface.into(), name.into(), value]).await?;
        Ok(())
    }

    async fn call(
        &self,
        path: &str,
        interface: &str,
        member: &str,
        arguments: &[Argument],
    ) -> Result<Vec<Value>, LinkError> {
        self.link.call(Call { destination: &self.owner, path, interface, member }, arguments).await
    }
}

/// An access point as a network that can be joined; hidden ones have no name to show.
fn network(properties: &Value) -> Option<NetworkItem> {
    let Value::Byte(signal) = properties.key("Strength")? else { return None };
    let can_be_joined = properties.key("Mode")?.uint32()? == MODE_INFRASTRUCTURE;
    let ssid = Ssid::new(&properties.key("Ssid")?.bytes()?).ok().filter(|_| can_be_joined)?;
    Some(NetworkItem { ssid, signal: (*signal).min(100) })
}
