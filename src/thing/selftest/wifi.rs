//! The radio: what it hears, and whether it opens an access point.

use std::io;
use std::time::Duration;

use clap::Args;

use super::bench::{Bench, Halt};
use super::prepare_folder;
use crate::proto::action::WifiEvent;
use crate::proto::passcode::Passcode;
use crate::proto::port::Air as _;
use crate::proto::secret::SecretString;
use crate::radio::{JoinError, join_simulated};
use crate::thing::clock;
use crate::thing::config::{Config, WifiDriverName};
use crate::thing::wifi::Wifi;

/// How it is tried.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct WifiArgs {
    /// How long the radio may take for each step, in seconds
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=600))]
    radio_s: u16,
}

/// The access point's name; no plug draws it.
const SSID: &str = "SecT-TEST";

pub(super) async fn test(bench: &mut Bench, config: &Config, args: &WifiArgs) -> Result<(), Halt> {
    match config.wifi.driver {
        WifiDriverName::Simulated => bench.begin("wifi", &format!("simulated, {}", config.radio_path().display())),
    }
    if !prepare_folder(bench, config) {
        return Ok(());
    }
    let mut wifi = match Wifi::open(config) {
        Ok(wifi) => wifi,
        Err(error) => {
            let todo = trouble(config);
            bench.fail("opens", error.to_string(), todo);
            return Ok(());
        }
    };
    bench.pass("opens", "there");
    listen(bench, config, &wifi);
    let ended = open_access_point(bench, config, &mut wifi, Duration::from_secs(args.radio_s.into())).await;
    wifi.close();
    ended
}

fn listen(bench: &mut Bench, config: &Config, wifi: &Wifi) {
    let mut heard = wifi.seen();
    heard.sort_by_key(|network| std::cmp::Reverse(network.signal));
    if heard.is_empty() {
        let todo = match config.wifi.driver {
            WifiDriverName::Simulated => "write [[wifi.networks]] into the settings: docs/guide/simulated-plug.md",
        };
        bench.fail("hears", "no network", todo);
        return;
    }
    let names: Vec<_> = heard.iter().map(|network| format!("{} {} %", network.ssid, network.signal)).collect();
    bench.pass("hears", names.join(", "));
}

async fn open_access_point(bench: &mut Bench, config: &Config, wifi: &mut Wifi, limit: Duration) -> Result<(), Halt> {
    let passcode = Passcode::random(&mut clock::os_rng());
    wifi.open_access_point(SSID, &passcode);
    match bench.wait(limit, wifi.next()).await?.map(|report| (report.event, report.address)) {
        Some((WifiEvent::AccessPointUp, Some(address))) => {
            bench.pass("access point", format!("{SSID} is open, the plug's address there is {address}"));
        }
        Some((event, _)) => {
            bench.fail("access point", format!("{event:?}"), trouble(config));
            return Ok(());
        }
        None => {
            bench.fail("access point", format!("not open within {} s", limit.as_secs()), trouble(config));
            return Ok(());
        }
    }
    match config.wifi.driver {
        WifiDriverName::Simulated => {
            let passphrase = SecretString::new(passcode.expose().to_owned());
            let radio = config.radio_path();
            let join = join_simulated(&radio, SSID, &passphrase);
            match bench
                .wait(limit, join)
                .await?
                .unwrap_or_else(|| Err(JoinError::NoRadio(io::ErrorKind::TimedOut.into())))
            {
                Ok(address) => bench.pass("station", format!("one joined it with the passcode, at {address}")),
                Err(error) => bench.fail("station", error.to_string(), trouble(config)),
            }
        }
    }
    Ok(())
}

fn trouble(config: &Config) -> &'static str {
    match config.wifi.driver {
        WifiDriverName::Simulated => "remove what has the socket's or the FIFO's name; the folder must take files",
    }
}
