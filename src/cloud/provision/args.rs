//! The command line of `sect-cloud provision`.

use std::path::PathBuf;

use clap::Subcommand;

use super::host::Host;
use crate::proto::id::ThingId;

/// Make authorities, server certificates and device certificates.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Answer in JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `sect-cloud provision` can do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Make the manufacturer's authority, which vouches for plugs
    Authority {
        /// The folder for authority.key and authority.crt
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Its name in every certificate
        #[arg(long)]
        name: String,
    },
    /// Make a cloud server's own authority, which plugs and controllers pin
    ServerAuthority {
        /// The folder for authority.key and authority.crt
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Its name in every certificate
        #[arg(long)]
        name: String,
    },
    /// Make or renew the certificate of a cloud server; what plugs pin stays the same
    Server {
        /// The folder of the server's own authority
        #[arg(long, value_name = "DIR")]
        authority: PathBuf,
        /// A host name or an address that the server is reached at; may be given again
        #[arg(long = "host", value_name = "NAME", required = true)]
        hosts: Vec<Host>,
        /// How long it holds
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..=3650))]
        days: u16,
        /// Draw a new key for it too
        #[arg(long)]
        new_key: bool,
        /// The folder for server.key and server.crt
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Make the key and the certificate of one plug, or of many
    Device {
        /// The folder of the manufacturer's authority
        #[arg(long, value_name = "DIR")]
        authority: PathBuf,
        /// The plug's id, as `sectd identity` prints it
        #[arg(long, value_name = "THING_ID", required_unless_present = "ids", conflicts_with = "ids")]
        id: Option<ThingId>,
        /// A file with an id on each line, or - for standard input; each plug gets a folder of its own in DIR
        #[arg(long, value_name = "FILE")]
        ids: Option<PathBuf>,
        /// The folder for device.key and device.crt: the plug's state folder
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Check certificates against an authority, and say why one is refused
    Check {
        /// The folder of the authority; its key is not needed
        #[arg(long, value_name = "DIR")]
        authority: PathBuf,
        /// The host that a server's certificate must be for
        #[arg(long, value_name = "NAME")]
        host: Option<Host>,
        /// Certificates in PEM
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

const EXAMPLES: &str = "\
Examples:
  sect-cloud provision authority --out manufacturer --name \"Example Plugs\"
  sect-cloud provision device --authority manufacturer --id \"$(sectd identity)\" --out /var/lib/sect
  sect-cloud provision device --authority manufacturer --ids ids.txt --out plugs
  sect-cloud provision check --authority manufacturer plugs/*/device.crt
  sect-cloud provision server-authority --out authority --name \"cloud.example.org\"
  sect-cloud provision server --authority authority --host cloud.example.org --out /etc/sect-cloud

Keep the folder of an authority away from the Internet; provisioning/README.md says how.";
