//! A whole household at once: each of 16 controllers sends 20 commands a second over a session of its own, and
//! hears of everybody else's.

use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sect::proto::operation::argument::UserAdd;
use sect::proto::operation::{Operation, result};
use sect::proto::pairing::binding::Binding;
use sect::proto::record::Household;
use sect::proto::user::Role;

use crate::goal;
use crate::support::line::{self, Line};
use crate::talk::Talk;
use crate::thing::RunningThing;

/// From one command of a controller to its next.
const PACE: Duration = Duration::from_millis(50);
/// Commands of each controller.
const COMMANDS: usize = 400;

/// Measures one controller, then as many as a household has, and prints both.
pub fn measure(thing: &RunningThing) -> anyhow::Result<()> {
    let mut bindings = vec![thing.binding.clone()];
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for number in 1..Household::MAX_CONTROLLERS {
        bindings.push(tokio.block_on(invite(thing, number))?);
    }
    let alone = play(thing, &bindings[..1])?;
    let together = play(thing, &bindings)?;
    println!(
        "\n{:<44}{:>8}{:>12}",
        format!("round trip in us, {} commands a second each", 1000 / PACE.as_millis()),
        "p50",
        "p99"
    );
    for (who, taken) in [("one controller", &alone), ("16 controllers", &together)] {
        println!("{who:<44}{:>8.1}{:>12.1}", quantile(taken, 50), quantile(taken, 99));
    }
    ensure!(together.len() == bindings.len() * COMMANDS, "not every command was answered");
    println!("every one of {} commands was answered", together.len());
    goal("p99 of 16 / of one", quantile(&together, 99) / quantile(&alone, 99), 5.0);
    Ok(())
}

async fn invite(thing: &RunningThing, number: usize) -> anyhow::Result<Binding> {
    let mut owner = Line::open(thing.plug(), &thing.binding).await?;
    let wanted = UserAdd { name: format!("user {number}").parse()?, role: Role::Operator, ttl_s: None };
    let said = owner.ask(&Operation::UserAdd(wanted)).await;
    let invited: result::Invited = serde_json::from_value(said.result.context("no invitation")?)?;
    Ok(line::accept(thing.plug(), &invited.inv).await?)
}

/// Every round trip of each, sorted.
fn play(thing: &RunningThing, bindings: &[Binding]) -> anyhow::Result<Vec<Duration>> {
    let start = Barrier::new(bindings.len());
    let played = thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(bindings)
            .map(|(number, binding)| {
                let start = &start;
                scope.spawn(move || {
                    let mut talk = Talk::start(thing.open_as(binding, &format!("h{number}"))?, binding)?;
                    start.wait();
                    // Spread over the pace, as people are.
                    let first = Instant::now() + PACE * number / bindings.len() as u32;
                    (0..COMMANDS as u32)
                        .map(|n| {
                            thread::sleep((first + PACE * n).saturating_duration_since(Instant::now()));
                            talk.command()
                        })
                        .collect::<io::Result<Vec<_>>>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect::<io::Result<Vec<_>>>()
    })?;
    let mut taken = played.concat();
    taken.sort_unstable();
    Ok(taken)
}

/// In microseconds.
fn quantile(taken: &[Duration], percent: usize) -> f64 {
    taken[(taken.len() * percent / 100).min(taken.len() - 1)].as_nanos() as f64 / 1000.0
}
