//! A household among many idle sessions, and among the same when they all come back at once.
//!
//! All servers have their crowd at the same time, and the round trips among idle sessions take turns, so
//! that whatever else the machine does hits each of them alike.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::crowd::{Crowd, Storm};
use crate::goal;
use crate::households::Household;
use crate::round_trip::{Taken, Talk};
use crate::server::{Installed, Server};

/// Before what a process uses is looked at.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// Between two round trips through one server: eight accounts at ten a second.
const PACE: Duration = Duration::from_micros(12_600);

/// One server with its crowd.
pub struct Crowded {
    name: &'static str,
    server: Server,
    talk: Talk,
    crowd: Crowd,
    /// In bytes, for each session.
    memory: f64,
    came_within: Duration,
    /// The server's processor time.
    coming: Duration,
    calm: Taken,
}

/// What a server has done with its crowd.
struct Measured {
    name: &'static str,
    sessions: usize,
    memory: f64,
    came_within: Duration,
    coming: Duration,
    calm: Taken,
    storm: Storm,
    stormy: Taken,
    /// The server's processor time, without the round trips' share taken off.
    storming: Duration,
    /// In bytes, of the process after the storm.
    after: u64,
}

/// Measures all servers: the crowds come one after the other, the round trips among them take turns, and
/// then the crowds are cut, one after the other again.
pub fn measure(
    servers: &[Installed],
    talking: &[Household],
    idle: &[Household],
    round_trips: usize,
) -> anyhow::Result<()> {
    let mut crowded = Vec::new();
    for server in servers {
        crowded.push(Crowded::gather(server, talking, idle)?);
    }
    let pause = PACE / u32::try_from(crowded.len().max(1))?;
    for round in 0..round_trips {
        // Nobody always follows the same.
        let mut order: Vec<_> = (0..crowded.len()).collect();
        order.rotate_left(round % crowded.len().max(1));
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let Crowded { talk, calm, .. } = &mut crowded[at];
            calm.push(talk.round_trip()?);
            thread::sleep(pause);
        }
    }
    let measured = crowded.into_iter().map(Crowded::storm).collect::<anyhow::Result<Vec<_>>>()?;
    report(&measured, idle.len());
    Ok(())
}

impl Crowded {
    fn gather(installed: &Installed, talking: &[Household], idle: &[Household]) -> anyhow::Result<Self> {
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
        let coming = came.processor - before.processor;
        Ok(Self { name: installed.name, server, talk, crowd, memory, came_within, coming, calm: Taken::default() })
    }

    fn storm(self) -> anyhow::Result<Measured> {
        let Self { name, server, mut talk, mut crowd, memory, came_within, coming, calm } = self;
        let before = server.usage()?;
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
            name,
            sessions: crowd.len(),
            memory,
            came_within,
            coming,
            calm,
            storm,
            stormy,
            storming: after.processor - before.processor,
            after: after.memory,
        })
    }
}

fn report(crowds: &[Measured], households: usize) {
    let Some(sessions) = crowds.first().map(|crowd| crowd.sessions) else { return };
    println!("\n{sessions} idle sessions: {households} plugs with eight controllers each, each with an account.");
    let line = |what: &str, figure: &dyn Fn(&Measured) -> String| {
        let figures: String = crowds.iter().map(|crowd| format!("{:>14}", figure(crowd))).collect();
        println!("{what:<52}{figures}");
    };
    println!();
    line("", &|crowd| crowd.name.to_owned());
    let each = |duration: Duration| duration.as_secs_f64() * 1e6 / sessions as f64;
    line("memory for each session, KiB", &|crowd| format!("{:.1}", crowd.memory / 1024.0));
    line("sessions opened a second, 64 at once", &|crowd| {
        format!("{:.0}", sessions as f64 / crowd.came_within.as_secs_f64())
    });
    line("the server's processor time for each, us", &|crowd| format!("{:.0}", each(crowd.coming)));
    line("round trips among them", &|crowd| crowd.calm.count().to_string());
    line("of these p50 in us", &|crowd| format!("{:.0}", crowd.calm.quantile(50)));
    line("of these p90 in us", &|crowd| format!("{:.0}", crowd.calm.quantile(90)));
    line("of these p99 in us", &|crowd| format!("{:.0}", crowd.calm.quantile(99)));
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
    let [ours, _, theirs] = crowds else { return };
    goal("memory of sect-cloud / of Mosquitto", ours.memory / theirs.memory, 1.0);
    for percent in [50, 99] {
        let ratio = ours.calm.quantile(percent) / theirs.calm.quantile(percent);
        goal(&format!("p{percent} among them, of sect-cloud / of Mosquitto"), ratio, 1.0);
    }
    goal("refused for good", ours.storm.refused as f64, 0.0);
}
