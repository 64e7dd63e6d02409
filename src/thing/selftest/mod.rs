//! `sectd selftest`: for the bench in the workshop, each part of the board by itself.
//!
//! It uses the daemon's own settings and its own back ends, so that what works here works in the daemon, and it
//! refuses while the daemon runs. What only a person can see is asked, unless a test rig looks instead (`--yes`).
//! It changes nothing that lasts: the outlet gets back what it had, the store is only looked at.

mod bench;
mod board;
mod button;
mod display;
mod outlet;
mod radio;
mod report;
mod store;
mod user;
mod wifi;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::bench::{Bench, Halt};
use super::config::{Config, LogConfig};
use super::store::{StoreError, hold};
use super::{log, runtime_dir};

/// Something failed.
const FAILED: u8 = 1;
/// The command line or the settings are wrong, or there was nobody to answer.
const USAGE: u8 = 2;
/// The daemon runs.
const IN_USE: u8 = 3;
/// Stopped by a signal, as a shell tells it.
const INTERRUPTED: u8 = 130;

/// What `sectd selftest` was told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SelftestArgs {
    /// Which part.
    #[command(subcommand)]
    pub part: Part,
    /// Ask nobody: what only a person can see is not judged
    #[arg(long, global = true)]
    pub yes: bool,
    /// Report in JSON, as one line at the end; asks nobody
    #[arg(long, global = true)]
    pub json: bool,
}

/// A part of the board.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Part {
    /// Switch the outlet on and off, and leave it as it was
    Outlet(outlet::OutletArgs),
    /// Wait for a press of the button; show how long it was and how the contact bounced
    Button(button::ButtonArgs),
    /// Show blocks, all characters and every screen on the display
    Display(display::DisplayArgs),
    /// Look at the radio: what it hears, and whether it can open an access point
    Wifi(wifi::WifiArgs),
    /// Look at the store, and write to the card beside it: modes, room, soundness, time of a durable change
    Store,
    /// All of them, one after the other
    All(AllArgs),
}

/// What all parts take.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct AllArgs {
    #[command(flatten)]
    outlet: outlet::OutletArgs,
    #[command(flatten)]
    button: button::ButtonArgs,
    #[command(flatten)]
    display: display::DisplayArgs,
    #[command(flatten)]
    wifi: wifi::WifiArgs,
}

/// The examples and the exit status, for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  sudo systemctl stop sectd              it refuses while the daemon runs
  sudo sectd selftest all                everything, one after the other
  sudo sectd selftest outlet --times 20 --pause-ms 200
  sudo sectd selftest display
  sectd selftest all --json --config ./sectd.toml     for a test rig: asks nobody

Started by root it goes on as the daemon's user, the owner of the state folder, and with one
right besides, as the service has it: to open port 67 (CAP_NET_BIND_SERVICE). `wifi` needs it to
give addresses on the plug's own network.

Exit status: 0 all passed, 1 something failed, 2 wrong command line or settings, or nobody
to answer, 3 the daemon runs, 130 interrupted.
What to do where something fails: docs/guide/raspberry-pi.md";

/// Tests what it was told to; the exit status says how it went.
pub fn run(config: &Config, args: &SelftestArgs) -> ExitCode {
    if let Err(error) = user::become_daemon(config) {
        return refuse(&format_args!("cannot go on as the owner of {}: {error}", config.state_dir.display()), FAILED);
    }
    // Why a line or a file was not set is said by whoever tried.
    let quiet = LogConfig { filter: "warn".to_owned() };
    if let Err(error) = log::start(&quiet) {
        return refuse(&error, USAGE);
    }
    let running = "sectd runs; stop it first: sudo systemctl stop sectd";
    // One that stands by because its store is lost has the folder alone.
    if runtime_dir::is_occupied(&config.runtime_dir) {
        return refuse(&running, IN_USE);
    }
    let held = match hold(&config.state_dir) {
        Err(StoreError::InUse) => return refuse(&running, IN_USE),
        Err(error @ StoreError::Folder { .. }) => {
            let todo = "run it as root, who goes on as the daemon's user: sudo sectd selftest";
            return refuse(&format_args!("{error}; {todo}"), FAILED);
        }
        held => held,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error, FAILED),
    };
    let ended = runtime.block_on(async {
        let mut bench = Bench::new(args)?;
        let ended = go_through(&mut bench, config, args, &held).await;
        bench.finish();
        ended.map(|()| bench.has_passed()).map_err(anyhow::Error::from)
    });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => match error.downcast_ref() {
            Some(Halt::Interrupted) => refuse(&error, INTERRUPTED),
            Some(Halt::NobodyAnswers) => refuse(&error, USAGE),
            None => refuse(&error, FAILED),
        },
    }
}

async fn go_through(
    bench: &mut Bench,
    config: &Config,
    args: &SelftestArgs,
    held: &Result<Option<super::store::Held>, StoreError>,
) -> Result<(), Halt> {
    match &args.part {
        Part::Outlet(args) => outlet::test(bench, config, args).await,
        Part::Button(args) => button::test(bench, config, args).await,
        Part::Display(args) => display::test(bench, config, args).await,
        Part::Wifi(args) => wifi::test(bench, config, args).await,
        Part::Store => store::test(bench, config, held),
        Part::All(args) => {
            // What changes nothing first: without a store none of the rest is of use.
            store::test(bench, config, held)?;
            outlet::test(bench, config, &args.outlet).await?;
            button::test(bench, config, &args.button).await?;
            display::test(bench, config, &args.display).await?;
            wifi::test(bench, config, &args.wifi).await
        }
    }
}

/// The folder in which what is simulated has its files; the daemon makes it in the same way.
fn prepare_folder(bench: &mut Bench, config: &Config) -> bool {
    match runtime_dir::prepare(&config.runtime_dir) {
        Ok(()) => true,
        Err(error) => {
            let folder = config.runtime_dir.display();
            bench.fail(
                "folder",
                format!("{folder}: {error}"),
                "make it, or name another as runtime-dir in the settings",
            );
            false
        }
    }
}

#[expect(clippy::print_stderr, reason = "there is no report yet, or it is over")]
fn refuse(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("sectd: {error:#}");
    ExitCode::from(code)
}
