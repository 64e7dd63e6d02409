//! `sect wifi`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::proto::wifi::Ssid;

pub(super) const HELP: &str = "\
Examples:
  sect wifi scan
  sect wifi set --home-ssid NewHome
  sect wifi set --home-ssid NewHome --secrets codes.txt
  sect wifi set --maintenance

The plug answers, tries the other network for up to 60 s, and keeps it or comes back to the old one. \
Nothing is lost by a mistyped password, or by a power cut meanwhile.

A plug that is in no network is reached nearby: hold its button for 10 s. Its display shows the name of \
its own network, with an M before the time left, and a code. Join that network with the code as its \
password and give --maintenance. Its owners' keys are needed all the same.";

/// What can be done about the home network.
#[derive(Debug, Clone, Subcommand)]
pub enum Wifi {
    /// Shows the networks that the plug has seen
    #[command(after_help = "Examples:\n  sect wifi scan\n  sect wifi scan --device Kitchen --json")]
    Scan,

    /// Gives the plug another home network: tried first, then kept or undone
    #[command(after_help = HELP)]
    Set(WifiSet),
}

/// Which network, and where the plug is now.
#[derive(Debug, Clone, Args)]
pub struct WifiSet {
    /// The network that the plug shall join
    #[arg(long, value_name = "NETWORK")]
    pub home_ssid: Option<Ssid>,

    /// Reads the Wi-Fi password (wifi-password=) from a file, or from standard input; with --maintenance
    /// the code on the display (passcode=) too
    #[arg(long, value_name = "FILE|-")]
    pub secrets: Option<PathBuf>,

    /// Where the plug is once it has joined that network, instead of looking for it
    #[arg(long, value_name = "HOST[:PORT]")]
    pub home_address: Option<String>,

    /// The plug is in no network: its display shows the name of its own one and a code
    #[arg(long, conflicts_with = "remote")]
    pub maintenance: bool,

    /// The plug's own Wi-Fi network, as its display shows it
    #[arg(long, value_name = "SecT-XXXX", requires = "maintenance")]
    pub ssid: Option<Ssid>,

    /// Joins a simulated plug's network through this socket
    #[arg(long, value_name = "SOCKET", requires = "maintenance")]
    pub simulated_radio: Option<PathBuf>,
}
