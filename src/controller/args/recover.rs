//! `sect recover` and `sect recovery-code`.

use std::path::PathBuf;

use clap::Args;

use crate::proto::user::Name;
use crate::proto::wifi::Ssid;

pub(super) const HELP: &str = "\
Examples:
  sect recover
  sect recover --ssid SecT-7K3Q --name Anna --secrets codes.txt --recovery-file new.txt
  sect recover --remove-everybody

For an owner who has lost every phone and computer that the plug knew. Needs all three: the plug's \
button, held for 10 s; what its display shows then; the recovery code on paper. Join the plug's network \
with the code on its display as the password. All earlier owners are removed; other users stay, unless \
--remove-everybody is given. The plug stays in its home network, unless --home-ssid names another one. \
A new recovery code replaces the one that was used. The secrets may stand in a file as the lines

  passcode=THE CODE ON THE DISPLAY
  recovery-code=THE CODE ON PAPER";

pub(super) const CODE_HELP: &str = "\
Examples:
  sect recovery-code
  sect recovery-code --device Kitchen --recovery-file code.txt

For owners. The code is shown once; every earlier one is void.";

/// How to recover a plug; it asks for the rest.
#[derive(Debug, Clone, Args)]
pub struct Recover {
    /// The plug's own Wi-Fi network, as its display shows it
    #[arg(long, value_name = "SecT-XXXX")]
    pub ssid: Option<Ssid>,

    /// Your name, which the plug shows when you have switched it
    #[arg(long, value_parser = super::user::readable)]
    pub name: Option<Name>,

    /// Your name for the plug
    #[arg(long)]
    pub alias: Option<Name>,

    /// Reads the passcode and the recovery code from a file, or from standard input
    #[arg(long, value_name = "FILE|-")]
    pub secrets: Option<PathBuf>,

    /// Writes the new recovery code into this file, which must not exist, instead of showing it
    #[arg(long, value_name = "FILE")]
    pub recovery_file: Option<PathBuf>,

    /// Removes every user, not the owners alone
    #[arg(long)]
    pub remove_everybody: bool,

    /// Another home network for the plug
    #[arg(long, value_name = "NETWORK")]
    pub home_ssid: Option<Ssid>,

    /// Where the plug is once it has joined its home network, instead of looking for it
    #[arg(long, value_name = "HOST[:PORT]")]
    pub home_address: Option<String>,

    /// Joins a simulated plug's network through this socket
    #[arg(long, value_name = "SOCKET")]
    pub simulated_radio: Option<PathBuf>,
}

/// Where the new code goes.
#[derive(Debug, Clone, Args)]
pub struct RecoveryCode {
    /// Writes the code into this file, which must not exist, instead of showing it
    #[arg(long, value_name = "FILE")]
    pub recovery_file: Option<PathBuf>,
}
