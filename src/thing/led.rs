//! The status LED: steady at home, blinking while the plug's own network is open, dark otherwise.
//!
//! It wakes the daemon only while it blinks, which ends with the window. It is no part of the plug's work: one
//! that does not light up is logged, and the plug goes on.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::config::Config;
use super::gpio::OutputLine;
use crate::proto::action::Screen;

/// How long it is lit, and how long dark, while it blinks.
const BLINK: Duration = Duration::from_millis(500);

/// What it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Light {
    /// The plug serves nobody, or something is wrong: the display says what.
    Dark,
    /// At home.
    Steady,
    /// Its own network is open.
    Blinking,
}

/// A line with an LED, or none.
#[derive(Debug)]
pub struct Led {
    line: Option<OutputLine>,
    light: Light,
    lit: bool,
    /// When it changes, while it blinks.
    change_at: Instant,
}

impl Led {
    /// Opens the line, if the configuration names one, and makes it dark.
    #[must_use]
    pub fn open(config: &Config) -> Self {
        let line = config.led.place().and_then(|place| {
            OutputLine::open(&place).inspect_err(|error| warn!(%error, "the status LED stays dark")).ok()
        });
        let mut led = Self { line, light: Light::Dark, lit: false, change_at: Instant::now() };
        led.set(false);
        led
    }

    /// Shows in short what the display shows.
    pub fn show(&mut self, screen: &Screen) {
        let light = light(screen);
        if light != std::mem::replace(&mut self.light, light) {
            self.set(light != Light::Dark);
        }
    }

    /// Makes it dark: nobody serves any more.
    pub fn darken(&mut self) {
        self.light = Light::Dark;
        self.set(false);
    }

    /// Waits until it has to change, and changes it. Without blinking, never.
    pub async fn turn(&mut self) {
        if self.light != Light::Blinking || self.line.is_none() {
            return pending().await;
        }
        sleep_until(self.change_at).await;
        self.set(!self.lit);
    }

    fn set(&mut self, lit: bool) {
        self.lit = lit;
        self.change_at = Instant::now() + BLINK;
        if let Some(Err(error)) = self.line.as_mut().map(|line| line.set(lit)) {
            warn!(%error, "the status LED is broken");
            self.line = None;
        }
    }
}

fn light(screen: &Screen) -> Light {
    match screen {
        Screen::Online { .. } => Light::Steady,
        Screen::AccessPoint { .. } | Screen::Pairing { .. } | Screen::Maintenance { .. } => Light::Blinking,
        Screen::Starting
        | Screen::AccessPointOff
        | Screen::Joining { .. }
        | Screen::JoinFailed { .. }
        | Screen::Wiping
        | Screen::Fault(_) => Light::Dark,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::time::timeout;

    use super::*;
    use crate::proto::action::Fault;
    use crate::proto::message::OutletState;

    #[test]
    fn it_is_steady_at_home_and_blinks_while_the_plug_s_network_is_open() {
        let ssid = || "SecT-4F7K".to_owned();
        let passcode = || "0123456789ABCDEF".parse().expect("a passcode");
        let left = Duration::from_secs(600);
        let online = Screen::Online { name: "Lamp".parse().expect("a name"), outlet: OutletState::Off };
        for (screen, expected) in [
            (online, Light::Steady),
            (Screen::AccessPoint { ssid: ssid(), passcode: passcode(), left }, Light::Blinking),
            (Screen::Maintenance { ssid: ssid(), passcode: passcode(), left }, Light::Blinking),
            (Screen::Pairing { ssid: ssid() }, Light::Blinking),
            (Screen::AccessPointOff, Light::Dark),
            (Screen::Fault(Fault::Outlet), Light::Dark),
        ] {
            assert_eq!(light(&screen), expected, "{screen:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_line_it_never_wakes_the_daemon() {
        let config = Config::parse(Path::new("sectd.toml"), "").expect("read");
        let mut led = Led::open(&config);
        led.show(&Screen::Pairing { ssid: "SecT-4F7K".to_owned() });
        assert!(timeout(Duration::from_secs(3600), led.turn()).await.is_err());
    }
}
