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

mod crowd;
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

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::crowd::{Crowd, Storm};
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
    /// `sect-cloud` alone
    #[arg(long)]
    alone: bool,
    /// What `cargo bench` says
    #[arg(long, hide = true)]
    bench: bool,
}

/// Round trips through one server in a row.
const ROUND: usize = 100;
/// Round trips through each server that nobody measures, at the start.
const WARM_UP: usize = 500;
/// Households whose accounts take turns.
const TALKING: usize = 32;
/// Before what a process uses is looked at.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// Between two round trips while the others are idle or come back: eight accounts at ten a second.
const PACE: Duration = Duration::from_micros(12_600);
/// Round trips among idle sessions.
const CALM_ROUND_TRIPS: usize = 400;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let limit = getrlimit(Resource::Nofile);
    // Servers inherit it. Where this is not enough, connecting says so.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let idle = args.sessions.div_ceil(SESSIONS).max(TALKING - 1);
    let pki = Pki::new();
    let certificates = Certificates::new(&pki);
    let households = households::settle(u32::try_from(idle + 1)?, &pki, &certificates.chain)?;
    let mut servers = vec![server::sect_cloud(&pki, &certificates, &households)?];
    match server::mosquitto(&pki, &certificates, &households)? {
        _ if args.alone => {}
        Some(installed) => servers.push(installed),
        None => println!("Mosquitto is not installed: the comparison with it is left out."),
    }

    measure_round_trips(&servers, &households[..TALKING], args.round_trips)?;
    let (talking, idle) = households.split_at(1);
    let mut crowds = Vec::new();
    for server in &servers {
        crowds.push(measure_crowd(server, talking, idle)?);
    }
    report_crowds(&servers, &crowds, idle.len());
    Ok(())
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
    if let [(_, ours, _), (_, theirs, _)] = &talks[..] {
        goal("p50 of sect-cloud / of Mosquitto", ours.quantile(50) / theirs.quantile(50), 0.7);
    }
    Ok(())
}

/// What one server does with a crowd.
struct Measured {
    sessions: usize,
    /// In bytes, for each session.
    memory: f64,
    came_within: Duration,
    /// The server's processor time.
    coming: Duration,
    calm: Taken,
    storm: Storm,
    stormy: Taken,
    /// The server's processor time, without the round trips' share taken off.
    storming: Duration,
    /// In bytes, of the process after the storm.
    after: u64,
}

fn measure_crowd(installed: &Installed, talking: &[Household], idle: &[Household]) -> anyhow::Result<Measured> {
    let server = installed.start()?;
    let mut talk = Talk::start(&server, talking)?;
    for _ in 0..talk.accounts() {
        talk.round_trip()?;
    }
    let mut crowd = Crowd::new(&server, idle.iter().flat_map(Household::members))?;
    thread::sleep(SETTLED_AFTER);
    let before = server.usage()?;
    let came_within = crowd.come()?;
    let came = server.usage()?;
    thread::sleep(SETTLED_AFTER);
    let memory = (server.usage()?.memory as f64 - before.memory as f64) / crowd.len() as f64;

    let mut calm = Taken::default();
    while calm.count() < CALM_ROUND_TRIPS {
        calm.push(talk.round_trip()?);
        thread::sleep(PACE);
    }
    let calm_usage = server.usage()?;
    let mut stormy = Taken::default();
    let over = AtomicBool::new(false);
    let storm = thread::scope(|scope| {
        let talking = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                stormy.push(talk.round_trip()?);
                thread::sleep(PACE);
            }
            Ok::<_, std::io::Error>(())
        });
        let storm = crowd.storm();
        over.store(true, Ordering::Relaxed);
        talking.join().expect("it does not panic").map(|()| storm)
    })?;
    let after = server.usage()?;
    Ok(Measured {
        sessions: crowd.len(),
        memory,
        came_within,
        coming: came.processor - before.processor,
        calm,
        storm,
        stormy,
        storming: after.processor - calm_usage.processor,
        after: after.memory,
    })
}

fn report_crowds(servers: &[Installed], crowds: &[Measured], households: usize) {
    let Some(sessions) = crowds.first().map(|crowd| crowd.sessions) else { return };
    println!("\n{sessions} idle sessions: {households} plugs with eight controllers each, each with an account.");
    let line = |what: &str, figure: &dyn Fn(&Measured) -> String| {
        let figures: String = crowds.iter().map(|crowd| format!("{:>14}", figure(crowd))).collect();
        println!("{what:<52}{figures}");
    };
    let names: String = servers.iter().map(|server| format!("{:>14}", server.name)).collect();
    println!("\n{:<52}{names}", "");
    let each = |duration: Duration| duration.as_secs_f64() * 1e6 / sessions as f64;
    line("memory for each session, KiB", &|crowd| format!("{:.1}", crowd.memory / 1024.0));
    line("sessions opened a second, 64 at once", &|crowd| {
        format!("{:.0}", sessions as f64 / crowd.came_within.as_secs_f64())
    });
    line("the server's processor time for each, us", &|crowd| format!("{:.0}", each(crowd.coming)));
    line("round trip among them, p50 in us", &|crowd| format!("{:.0}", crowd.calm.quantile(50)));
    line("round trip among them, p99 in us", &|crowd| format!("{:.0}", crowd.calm.quantile(99)));
    println!("all cut and back at once:");
    line("until the last is back, s", &|crowd| format!("{:.2}", crowd.storm.took.as_secs_f64()));
    line("attempts that failed and were repeated", &|crowd| crowd.storm.failures.to_string());
    line("refused for good", &|crowd| crowd.storm.refused.to_string());
    line("the server's processor time for each, us", &|crowd| format!("{:.0}", each(crowd.storming)));
    line("round trips of a household that stayed", &|crowd| crowd.stormy.count().to_string());
    line("of these p50 in us", &|crowd| format!("{:.0}", crowd.stormy.quantile(50)));
    line("of these p99 in us", &|crowd| format!("{:.0}", crowd.stormy.quantile(99)));
    line("the slowest in us", &|crowd| format!("{:.0}", crowd.stormy.quantile(100)));
    line("the process after it, MiB", &|crowd| format!("{:.1}", crowd.after as f64 / f64::from(1 << 20)));
    println!();
    if let [ours, theirs] = crowds {
        goal("memory of sect-cloud / of Mosquitto", ours.memory / theirs.memory, 1.0);
        goal("p50 among them, of sect-cloud / of Mosquitto", ours.calm.quantile(50) / theirs.calm.quantile(50), 1.0);
    }
    for crowd in &crowds[..1] {
        goal("refused for good", crowd.storm.refused as f64, 0.0);
    }
}

/// Prints a figure beside its goal.
fn goal(what: &str, measured: f64, at_most: f64) {
    let verdict = if measured <= at_most { "met" } else { "missed" };
    println!("{what:<52}{measured:>8.2}   goal: at most {at_most}   goal {verdict}");
}
