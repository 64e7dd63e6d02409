//! How long a command takes, beside what it cannot be faster than and what it is meant to beat.
//!
//! One round trip is: a command written and sealed, sent over an open session, the outlet switched, the
//! answer sealed, received, opened and read. `sectd` is the real process, claimed by its passcode. Its
//! rivals answer as many bytes with as many: a TCP echo and a rustls echo, each a tokio process, and
//! Mosquitto with a responder process behind it that does the thing's part. All take turns in short
//! rounds, so that whatever else the machine does hits all of them alike.
//!
//! `cargo bench` measures and says which goals are met; no goal that is missed makes it fail.
//! `cargo bench --bench command -- --household` measures 16 controllers at once instead, and
//! `cargo bench --bench command -- --idle` watches an idle daemon for some minutes instead.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is what this is for")]
#![allow(unreachable_pub, reason = "what is `pub` here is so for its neighbours, as in the tests' support")]

mod footprint;
mod household;
mod mosquitto;
mod peers;
#[path = "../../tests/support/mod.rs"]
mod support;
mod talk;
mod thing;
mod wire;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use rustls::pki_types::{CertificateDer, ServerName};

use self::peers::{Peer, Role};
use self::talk::{Sizes, Talk};
use self::thing::RunningThing;

#[derive(Debug, Parser)]
struct Args {
    /// Watch the daemon do nothing, instead
    #[arg(long)]
    idle: bool,
    /// Measure 16 controllers at once, instead
    #[arg(long)]
    household: bool,
    /// Round trips of each rival in each rhythm
    #[arg(long, default_value_t = 10_000)]
    commands: usize,
    /// `sectd` alone
    #[arg(long)]
    alone: bool,
    /// The `sectd` to measure, in place of the one that was built with this: docs/measurements.md builds a plug's
    #[arg(long, default_value = env!("CARGO_BIN_EXE_sectd"))]
    sectd: PathBuf,
    /// Run `sectd` under a program that watches it, as in `--under "valgrind --tool=callgrind"`
    #[arg(long, default_value = "")]
    under: String,
    /// What `cargo bench` says
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// Round trips of one rival in a row.
const ROUND: usize = 100;
/// How soon the next command follows an answer. In a row, it meets what a thing still does after its
/// answer; apart, it meets a process that has gone to sleep.
const RHYTHMS: [(&str, Duration); 2] = [("in a row", Duration::ZERO), ("150 us apart", Duration::from_micros(150))];
/// Round trips that nobody measures, at the start.
const WARM_UP: usize = 200;
/// Sessions that are opened before the memory is looked at.
const SESSIONS: usize = 16;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match &args.role {
        Some(role) => Ok(peers::play(role)?),
        None if args.idle => thing::watch_idle(&args.sectd),
        None if args.household => household::measure(&RunningThing::start(&args.sectd, &args.under)?),
        None => measure(&args),
    }
}

/// One of those that take turns.
struct Rival<'a> {
    name: &'static str,
    round_trip: Box<dyn FnMut() -> io::Result<Duration> + 'a>,
    /// For each rhythm.
    taken: [Vec<Duration>; RHYTHMS.len()],
}

impl<'a> Rival<'a> {
    fn new(name: &'static str, round_trip: impl FnMut() -> io::Result<Duration> + 'a) -> Self {
        Self { name, round_trip: Box::new(round_trip), taken: Default::default() }
    }

    fn ask(&mut self, rhythm: usize, times: usize) -> io::Result<()> {
        for _ in 0..times {
            let took = (self.round_trip)()?;
            self.taken[rhythm].push(took);
            let answered = Instant::now();
            // Not asleep: the processor would then take its time to wake up for the next one.
            while answered.elapsed() < RHYTHMS[rhythm].1 {
                std::hint::spin_loop();
            }
        }
        Ok(())
    }

    /// In microseconds; the round trips are sorted.
    fn quantile(&self, rhythm: usize, percent: usize) -> f64 {
        let taken = &self.taken[rhythm];
        let place = (taken.len() * percent / 100).min(taken.len() - 1);
        taken[place].as_nanos() as f64 / 1000.0
    }
}

fn measure(args: &Args) -> anyhow::Result<()> {
    let thing = RunningThing::start(&args.sectd, &args.under)?;
    let mut talk = Talk::start(thing.open("measured")?, &thing.binding)?;
    talk.command()?;
    let sizes = talk.sizes();
    let disk_bytes = footprint::disk_bytes(thing.pid())?;

    let mut rivals = vec![Rival::new(SECTD, move || talk.command())];
    let mut helpers = Vec::new();
    let mut broker = None;
    if !args.alone {
        let (peer, address, _) = Peer::echo("tcp-echo", sizes)?;
        helpers.push(peer);
        rivals.push(tcp_rival(address, sizes)?);
        let (peer, address, certificate) = Peer::echo("tls-echo", sizes)?;
        helpers.push(peer);
        rivals.push(tls_rival(address, certificate, sizes)?);
        if let Some(program) = mosquitto::find() {
            let running = mosquitto::Mosquitto::start(&program, thing.folder(), &thing.binding)?;
            let outlet = thing.runtime_folder().join("responder-outlet");
            let outlet = outlet.to_string_lossy();
            let binding = serde_json::to_vec(&thing.binding.to_stored())?;
            helpers.push(Peer::start(&["responder", &running.address.to_string(), &outlet], &binding)?);
            let wire = talk::open(running.address, &thing.binding, "measured")?;
            let mut talk = Talk::start(wire, &thing.binding)?;
            rivals.push(Rival::new(MOSQUITTO, move || talk.command()));
            broker = Some(running);
        }
    }

    take_turns(&mut rivals, args.commands)?;
    println!(
        "Commands of {} bytes and answers of {}, as MQTT packets; {} of each kind.",
        sizes.command, sizes.answer, args.commands
    );
    for (rhythm, (name, _)) in RHYTHMS.iter().enumerate() {
        println!("\n{:<44}{:>8}{:>12}", format!("round trip in us, {name}"), "p50", "p99");
        for rival in &rivals {
            println!("{:<44}{:>8.1}{:>12.1}", rival.name, rival.quantile(rhythm, 50), rival.quantile(rhythm, 99));
        }
        compare(&rivals, rhythm);
    }
    if broker.is_none() && !args.alone {
        println!("\nMosquitto is not installed: the comparison with it is left out.");
    }
    drop(rivals);
    let written = footprint::disk_bytes(thing.pid())? - disk_bytes;
    drop((helpers, broker));
    report_footprint(&thing, 2 * args.commands + WARM_UP, written)
}

const SECTD: &str = "sectd";
const TCP_ECHO: &str = "TCP echo";
const TLS_ECHO: &str = "rustls echo";
const MOSQUITTO: &str = "Mosquitto and responder";

fn take_turns(rivals: &mut [Rival<'_>], count: usize) -> io::Result<()> {
    for rival in &mut *rivals {
        rival.ask(0, WARM_UP)?;
        rival.taken[0].clear();
    }
    for _ in 0..count.div_ceil(ROUND) {
        for rhythm in 0..RHYTHMS.len() {
            for rival in &mut *rivals {
                rival.ask(rhythm, ROUND)?;
            }
        }
        // Nobody is always first.
        rivals.rotate_left(1);
    }
    for rival in &mut *rivals {
        rival.taken.iter_mut().for_each(|taken| taken.sort_unstable());
    }
    rivals.sort_by_key(|rival| [SECTD, TCP_ECHO, TLS_ECHO, MOSQUITTO].iter().position(|name| *name == rival.name));
    Ok(())
}

fn compare(rivals: &[Rival<'_>], rhythm: usize) {
    let [sectd, others @ ..] = rivals else { return };
    for other in others {
        let (what, ratio) =
            (format!("p50 of sectd / of {}", other.name), sectd.quantile(rhythm, 50) / other.quantile(rhythm, 50));
        match other.name {
            TCP_ECHO => goal(&what, ratio, 2.5),
            MOSQUITTO => goal(&what, ratio, 0.5),
            _ => println!("{what:<44}{ratio:>8.2}"),
        }
    }
}

fn report_footprint(thing: &RunningThing, commands: usize, disk_bytes: u64) -> anyhow::Result<()> {
    let sessions = (0..SESSIONS).map(|number| thing.open(&format!("s{number}"))).collect::<io::Result<Vec<_>>>()?;
    let memory = footprint::memory(thing.pid())?;
    drop(sessions);
    println!("\nMemory of sectd after {commands} commands and {SESSIONS} more sessions, in KiB:");
    println!(
        "peak {}, anonymous {}, of files {}, proportional {}",
        memory.peak, memory.anonymous, memory.file, memory.proportional
    );
    goal("peak in MB", memory.peak as f64 * 1024.0 / 1e6, 8.0);
    println!("\nWritten to disk during the commands, outlet and display being files in {}:", thing.runtime_on());
    goal("bytes", disk_bytes as f64, 0.0);
    Ok(())
}

/// Prints a figure beside its goal.
pub fn goal(what: &str, measured: f64, at_most: f64) {
    let verdict = if measured <= at_most { "met" } else { "missed" };
    println!("{what:<44}{measured:>8.2}   goal: at most {at_most}   goal {verdict}");
}

fn tcp_rival(address: SocketAddr, sizes: Sizes) -> io::Result<Rival<'static>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(Rival::new(TCP_ECHO, echo(stream, sizes)))
}

fn tls_rival(address: SocketAddr, certificate: Vec<u8>, sizes: Sizes) -> anyhow::Result<Rival<'static>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(certificate))?;
    let config = rustls::ClientConfig::builder_with_provider(peers::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = rustls::ClientConnection::new(Arc::new(config), ServerName::from(address.ip()))?;
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(Rival::new(TLS_ECHO, echo(rustls::StreamOwned::new(connection, stream), sizes)))
}

fn echo(mut stream: impl io::Read + io::Write, sizes: Sizes) -> impl FnMut() -> io::Result<Duration> {
    let (command, mut answer) = (vec![7; sizes.command], vec![0; sizes.answer]);
    move || {
        let started = Instant::now();
        stream.write_all(&command)?;
        stream.flush()?;
        stream.read_exact(&mut answer)?;
        Ok(started.elapsed())
    }
}
