//! `sect-cloud` beside Mosquitto: how long a message takes through each, what an idle session costs, and
//! what happens when everybody comes back at once.
//!
//! Both are real processes with the same certificates, TLS 1.3, accounts and rights; things log in by
//! certificate, controllers by password. Every household connects from a loopback address of its own, so
//! `sect-cloud` keeps the limits that it comes with. Of Mosquitto's it has one more: it sends no more
//! than ten messages a second for each account, so many accounts take turns.
//!
//! `cargo bench --bench cloud` measures with 1,000 sessions and says which goals are met; no goal that
//! is missed makes it fail. `-- --sessions 5000` opens as many as that.

#![allow(clippy::print_stdout, reason = "the table is what this is for")]
#![allow(unreachable_pub, reason = "what is `pub` here is so for its neighbours")]

mod bare_floor;
mod crowd;
mod crowded;
mod floor;
#[path = "../command/footprint.rs"]
#[allow(dead_code, reason = "the other bench uses the rest")]
mod footprint;
mod households;
mod packets;
#[path = "../../tests/support/pki.rs"]
#[allow(dead_code, reason = "each user has its own part of it")]
mod pki;
mod round_trip;
mod server;
mod wire;

use std::time::Duration;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::households::{Household, SESSIONS};
use self::pki::Pki;
use self::round_trip::{Taken, Talk};
use self::server::{Certificates, Installed};

#[derive(Debug, Parser)]
struct Args {
    /// Idle sessions at each server
    #[arg(long, default_value_t = 1000)]
    sessions: usize,
    /// Round trips through each server
    #[arg(long, default_value_t = 5000)]
    round_trips: usize,
    /// Round trips through each server among the idle sessions
    #[arg(long, default_value_t = 1000)]
    calm: usize,
    /// `sect-cloud` alone
    #[arg(long)]
    alone: bool,
    /// What `cargo bench` says
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What the program is when it is started again.
#[derive(Debug, Clone, clap::Subcommand)]
enum Role {
    /// A forwarder that does nothing else.
    Floor(floor::Place),
    /// The same without a runtime.
    BareFloor(floor::Place),
}

/// Round trips through one server in a row.
const ROUND: usize = 100;
/// Round trips through each server that nobody measures, at the start.
const WARM_UP: usize = 500;
/// Households whose accounts take turns.
const TALKING: usize = 32;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match &args.role {
        Some(Role::Floor(place)) => return floor::play(place),
        Some(Role::BareFloor(place)) => return bare_floor::play(place),
        None => {}
    }
    let limit = getrlimit(Resource::Nofile);
    // Servers inherit it. Where this is not enough, connecting says so.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let idle = args.sessions.div_ceil(SESSIONS).max(TALKING - 1);
    let pki = Pki::new();
    let certificates = Certificates::new(&pki);
    let households = households::settle(u32::try_from(idle + 1)?, &pki, &certificates.chain)?;
    let mut servers = vec![server::sect_cloud(&pki, &certificates, &households)?];
    if !args.alone {
        servers.push(server::floor("floor", &pki, &certificates)?);
        servers.push(server::floor("bare-floor", &pki, &certificates)?);
        match server::mosquitto(&pki, &certificates, &households)? {
            Some(installed) => servers.push(installed),
            None => println!("Mosquitto is not installed: the comparison with it is left out."),
        }
    }

    measure_round_trips(&servers, &households[..TALKING], args.round_trips)?;
    // No server has a thread for each of thousands.
    servers.retain(|server| server.name != "bare-floor");
    let (talking, idle) = households.split_at(1);
    crowded::measure(&servers, talking, idle, args.calm)
}

fn measure_round_trips(servers: &[Installed], households: &[Household], count: usize) -> anyhow::Result<()> {
    let running = servers.iter().map(Installed::start).collect::<anyhow::Result<Vec<_>>>()?;
    let mut talks = Vec::new();
    for server in &running {
        talks.push((Talk::start(server, households)?, Taken::default(), Duration::ZERO));
    }
    for (talk, ..) in &mut talks {
        for _ in 0..WARM_UP {
            talk.round_trip()?;
        }
    }
    for round in 0..count.div_ceil(ROUND) {
        // Nobody is always first.
        for turn in 0..talks.len() {
            let at = (round + turn) % talks.len();
            let (talk, taken, processor) = &mut talks[at];
            let before = running[at].usage()?.processor;
            for _ in 0..ROUND {
                taken.push(talk.round_trip()?);
            }
            *processor += running[at].usage()?.processor - before;
        }
    }
    let (talk, ..) = &talks[0];
    println!(
        "Messages of {} bytes at QoS 0 to a plug and back, in a row, {} accounts in turn; {count} round trips each.",
        talk.packet_bytes(),
        talk.accounts()
    );
    println!("\n{:<44}{:>10}{:>10}{:>14}", "round trip in us", "p50", "p99", "processor");
    for (server, (_, taken, processor)) in servers.iter().zip(&talks) {
        let each = processor.as_secs_f64() * 1e6 / taken.count() as f64;
        println!("{:<44}{:>10.1}{:>10.1}{each:>14.1}", server.name, taken.quantile(50), taken.quantile(99));
    }
    if let [(_, ours, _), floors @ .., (_, theirs, _)] = &talks[..]
        && servers.last().is_some_and(|server| server.name == "Mosquitto")
    {
        let ratio = |taken: &Taken| taken.quantile(50) / theirs.quantile(50);
        goal("p50 of sect-cloud / of Mosquitto", ratio(ours), 0.7);
        for (server, (_, taken, _)) in servers[1..].iter().zip(floors) {
            println!("{:<52}{:>8.2}", format!("p50 of {} / of Mosquitto", server.name), ratio(taken));
        }
    }
    Ok(())
}

/// Prints a figure beside its goal.
fn goal(what: &str, measured: f64, at_most: f64) {
    let verdict = if measured <= at_most { "met" } else { "missed" };
    println!("{what:<52}{measured:>8.2}   goal: at most {at_most}   goal {verdict}");
}
