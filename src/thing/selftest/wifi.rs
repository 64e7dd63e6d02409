//! The radio: what there is, what it hears, and whether it opens an access point.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;

use super::bench::{Bench, Halt};
use super::{prepare_folder, radio};
use crate::proto::action::WifiEvent;
use crate::proto::operation::result::NetworkItem;
use crate::proto::passcode::Passcode;
use crate::proto::port::Air as _;
use crate::proto::secret::SecretString;
use crate::radio::{JoinError, join_simulated};
use crate::thing::clock;
use crate::thing::config::{Config, WifiDriverName};
use crate::thing::wifi::Wifi;
use crate::thing::wifi::addresses::AddressServer;

/// How it is tried.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct WifiArgs {
    /// How long the radio may take for each step, in seconds
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=600))]
    radio_s: u16,
}

/// The access point's name; no plug draws it.
const SSID: &str = "SecT-TEST";
/// How often it is looked whether a scan has come to its end.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(super) async fn test(bench: &mut Bench, config: &Config, args: &WifiArgs) -> Result<(), Halt> {
    let is_simulated = config.wifi.driver == WifiDriverName::Simulated;
    if is_simulated {
        bench.begin("wifi", &format!("simulated, {}", config.radio_path().display()));
        if !prepare_folder(bench, config) {
            return Ok(());
        }
    } else {
        bench.begin("wifi", "by NetworkManager");
        bench
            .announce(
                "It looks for networks, then opens one of its own. A session over this radio ends; use the cable.",
            )
            .await?;
        if !may_give_addresses(bench) || !board(bench, Path::new("/sys")) {
            return Ok(());
        }
    }
    let mut wifi = match Wifi::open(config) {
        Ok(wifi) => wifi,
        Err(error) => {
            bench.fail("opens", error.to_string(), trouble(is_simulated));
            return Ok(());
        }
    };
    bench.pass("opens", "there");
    let limit = Duration::from_secs(args.radio_s.into());
    let heard = if is_simulated { wifi.seen() } else { scan(bench, &wifi, limit).await? };
    tell(bench, heard, is_simulated);
    let ended = open_access_point(bench, config, &mut wifi, limit).await;
    wifi.close();
    if !is_simulated {
        // The order to rest goes out.
        bench.pause(Duration::from_secs(2)).await?;
    }
    ended
}

/// Whether the access point could give addresses; without them nobody could claim the plug by it.
fn may_give_addresses(bench: &mut Bench) -> bool {
    if AddressServer::is_allowed() {
        bench.pass("addresses", "it may open port 67, by which it gives them");
        return true;
    }
    let todo = "run it as root, who goes on as the daemon's user with that right alone: sudo sectd selftest wifi";
    bench.fail("addresses", "no right to open port 67 (CAP_NET_BIND_SERVICE), by which it gives them", todo);
    false
}

/// What the kernel has; without a radio there is nothing more to try.
fn board(bench: &mut Bench, sys: &Path) -> bool {
    let interfaces = radio::interfaces(sys);
    if interfaces.is_empty() {
        let todo = "a Zero W has one, a plain Zero has none; `dmesg | grep brcmfmac` says why it is missing";
        bench.fail("interface", "there is no radio", todo);
        return false;
    }
    let named =
        interfaces.iter().map(|one| format!("{}, driver {}", one.name, one.driver.as_deref().unwrap_or("unknown")));
    bench.pass("interface", named.collect::<Vec<_>>().join("; "));
    let country = radio::country(sys);
    if radio::is_blocked(sys) {
        let todo = match country {
            Some(_) => "sudo rfkill unblock wifi",
            None => "say in which country it is: sudo raspi-config nonint do_wifi_country DE (your own letters)",
        };
        bench.fail("air", "the radio is blocked", todo);
        return false;
    }
    bench.pass(
        "air",
        match country {
            Some(country) => format!("not blocked, country {country}"),
            None => "not blocked, no country: the channels that are allowed everywhere".to_owned(),
        },
    );
    true
}

/// The first look around, which takes some seconds.
async fn scan(bench: &mut Bench, wifi: &Wifi, limit: Duration) -> Result<Vec<NetworkItem>, Halt> {
    let until = Instant::now() + limit;
    loop {
        let heard = wifi.seen();
        if !heard.is_empty() || Instant::now() >= until {
            return Ok(heard);
        }
        bench.pause(LOOK_AGAIN).await?;
    }
}

fn tell(bench: &mut Bench, mut heard: Vec<NetworkItem>, is_simulated: bool) {
    heard.sort_by_key(|network| std::cmp::Reverse(network.signal));
    if heard.is_empty() {
        let todo = if is_simulated {
            "write [[wifi.networks]] into the settings: docs/guide/simulated-plug.md"
        } else {
            "is NetworkManager running (systemctl status NetworkManager), and a router with 2.4 GHz in reach?"
        };
        bench.fail("hears", "no network", todo);
        return;
    }
    let names: Vec<_> = heard.iter().map(|network| format!("{} {} %", network.ssid, network.signal)).collect();
    bench.pass("hears", names.join(", "));
}

async fn open_access_point(bench: &mut Bench, config: &Config, wifi: &mut Wifi, limit: Duration) -> Result<(), Halt> {
    let is_simulated = config.wifi.driver == WifiDriverName::Simulated;
    let passcode = Passcode::random(&mut clock::os_rng());
    wifi.open_access_point(SSID, &passcode);
    let address = match bench.wait(limit, wifi.next()).await?.map(|report| (report.event, report.address)) {
        Some((WifiEvent::AccessPointUp, Some(address))) => address,
        Some((event, _)) => {
            bench.fail("access point", format!("{event:?}"), trouble(is_simulated));
            return Ok(());
        }
        None => {
            bench.fail("access point", format!("not open within {} s", limit.as_secs()), trouble(is_simulated));
            return Ok(());
        }
    };
    let detail = format!("{SSID} is open, the plug's address there is {address}");
    if !is_simulated {
        let todo = "the driver says that it is open: try another channel or place, and look at dmesg";
        bench.look("access point", detail, &format!("Does your phone show a network {SSID}?"), todo).await?;
        return Ok(());
    }
    bench.pass("access point", detail);
    let (passphrase, radio) = (SecretString::new(passcode.expose().to_owned()), config.radio_path());
    let joined = bench.wait(limit, join_simulated(&radio, SSID, &passphrase)).await?;
    match joined.unwrap_or_else(|| Err(JoinError::NoRadio(io::ErrorKind::TimedOut.into()))) {
        Ok(address) => bench.pass("station", format!("one joined it with the passcode, at {address}")),
        Err(error) => bench.fail("station", error.to_string(), trouble(is_simulated)),
    }
    Ok(())
}

const fn trouble(is_simulated: bool) -> &'static str {
    if is_simulated {
        "remove what has the socket's or the FIFO's name; the folder must take files"
    } else {
        "journalctl -u NetworkManager says why; does another program hold the radio (wpa_supplicant, hostapd)?"
    }
}
