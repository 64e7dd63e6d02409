//! The story: STEP by STEP, then the attacker.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::time::sleep;

use super::attacker::{self, Wire};
use super::household::{Done, HOME_SSID, Household};
use super::lcd::Lcd;
use super::life;
use super::stage::Stage;
use crate::mqtt::client::LinkError;
use crate::proto::message::ReturnCode;
use crate::proto::pairing::binding::Binding;
use crate::proto::passcode::Passcode;
use crate::proto::time::Micros;

/// The owner.
pub(super) const OWNER: &str = "Ana";
/// Somebody else.
pub(super) const STRANGER: &str = "Mallory";
/// How long the plug may take to find a server that is back.
const HOMECOMING: Duration = Duration::from_secs(8);
/// How often it is asked.
const GLANCE: Duration = Duration::from_millis(20);
/// Commands whose round trips are measured.
const MEASURED: usize = 51;

/// How a story ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// All of it was told.
    Told,
    /// Ctrl-C came before.
    Stopped,
}

/// Plays everything; with `stay`, leaves the plug running until Ctrl-C. Nothing remains afterwards.
pub(super) async fn play(stay: bool) -> anyhow::Result<Ended> {
    let mut house = Household::new()?;
    let mut stage = Stage::new();
    let ended = tokio::select! {
        // Ctrl-C ends the processes that are played as well: it must not pass for a failure of theirs.
        biased;
        Ok(()) = tokio::signal::ctrl_c() => Ok(Ended::Stopped),
        told = tell(&mut house, &mut stage, stay) => told.map(|()| Ended::Told),
    };
    // A plug that still writes would keep its folder from being removed. It may have gone by itself.
    let _ = house.power_cut().await;
    let _ = house.cut_cloud().await;
    ended
}

async fn tell(house: &mut Household, stage: &mut Stage, stay: bool) -> anyhow::Result<()> {
    let played = act(house, stage, stay).await;
    if played.is_err() {
        stage.tell(&format!("\nThe plug's log:\n{}", house.log_text()));
    }
    played?;
    stage.close();
    if stay { remain(house, stage).await } else { Ok(()) }
}

async fn act(house: &mut Household, stage: &mut Stage, stay: bool) -> anyhow::Result<()> {
    before(house, stage).await?;
    let (ssid, passcode) = first_power_up(house, stage).await?;
    wrong_passcode(house, stage, &ssid, &passcode).await?;
    let binding = pairing(house, stage, &ssid, &passcode).await?;
    switching(house, stage, &binding).await?;
    let withheld = attacks(house, stage, &binding, &passcode).await?;
    from_anywhere(house, stage, &binding).await?;
    hostile_cloud_server(house, stage, &binding, &withheld).await?;
    outage(house, stage, &binding).await?;
    life::live(house, stage).await?;
    // Who wants to look around shall find Ana's plug.
    if stay { Ok(()) } else { life::goodbye(house, stage, &passcode).await }
}

/// The factory and the server.
async fn before(house: &mut Household, stage: &mut Stage) -> anyhow::Result<()> {
    stage.chapter("BEFORE  A factory, and somebody who runs a cloud server");
    let provisioned = house.provision()?;
    stage.value("thing", provisioned.thing);
    stage.value("pin", format_args!("{}  (what plugs and controllers know the server by)", provisioned.pin));
    house.start_cloud().await?;
    stage.seen("the plug has its certificate, and the server its own; the server knows nothing yet");
    Ok(())
}

/// STEP 1.
async fn first_power_up(house: &mut Household, stage: &mut Stage) -> anyhow::Result<(String, String)> {
    stage.chapter("STEP 1  The plug gets power for the first time");
    house.power_on()?;
    let (lines, (ssid, passcode)) = house.lcd.passcode().await?;
    stage.draw(&Lcd::drawn(&lines));
    stage.value("SSID", &ssid);
    stage.value("passcode", format_args!("{passcode}  (80 bits, for 10 minutes)"));
    stage.seen("the plug opened its own WPA2 network and shows what opens it");
    Ok((ssid, passcode))
}

/// Who cannot read the display gets nowhere, on the radio or on the wire.
async fn wrong_passcode(house: &Household, stage: &mut Stage, ssid: &str, passcode: &str) -> anyhow::Result<()> {
    stage.chapter("ATTACK  A stranger guesses the passcode");
    let (first, rest) = passcode.split_at(1);
    let guess = format!("{}{rest}", if first == "0" { "1" } else { "0" });
    let done = house.pair(STRANGER, ssid, &guess).await?;
    stage.command("sect pair", &done.output);
    ensure!(done.code == Some(6), "sect pair ended with {:?} under a wrong passcode", done.code);
    stage.seen("WPA2 did not take the guess (exit code 6)");
    let guess: Passcode = guess.parse()?;
    let refused = attacker::knock_with_passcode(house.access_point(), &guess).await?;
    ensure!(matches!(refused, LinkError::KeyRefused), "past WPA2, a wrong passcode meets: {refused}");
    stage.seen("nor does TLS-PSK, for who got past WPA2");
    Ok(())
}

/// STEP 2, 6, 3, 4, 5, 7, 8.
async fn pairing(house: &Household, stage: &mut Stage, ssid: &str, passcode: &str) -> anyhow::Result<Binding> {
    stage.chapter("STEP 2-8  Ana reads the display and claims the plug");
    let done = house.pair(OWNER, ssid, passcode).await?;
    stage.command("sect pair", &done.output);
    expect(&done, "sect pair")?;
    let binding = house.binding(OWNER)?;
    ensure!(binding.confirmed, "the plug did not confirm the pairing");
    stage.value("thing", binding.thing);
    stage.value("T_token", format_args!("{}  (STEP 3, 148.85 bits)", binding.topic.as_str()));
    stage.value("Ctlr-U", binding.credentials.user.expose());
    stage.value("PSK identity", format_args!("{}  (STEP 7; the key itself never travels)", binding.psk().0));
    stage.value("kid", format_args!("{}  (names Ana's key in each message)", binding.keys().c2t.kid()));
    stage.seen("both sides hold the same keys, each in its own durable store");
    let lines = house.lcd.online("off").await?;
    stage.draw(&Lcd::drawn(&lines));
    stage.seen(&format!("the plug left its own network and joined {HOME_SSID}"));
    Ok(binding)
}

/// STEP 10-13.
async fn switching(house: &Household, stage: &mut Stage, binding: &Binding) -> anyhow::Result<()> {
    stage.chapter("STEP 10, 11  Ana's controller finds the plug");
    let done = house.sect(OWNER, &["discover"], "").await?;
    stage.command("sect discover", &done.output);
    expect(&done, "sect discover")?;
    ensure!(done.output.contains("Lamp"), "the plug was not recognised");
    stage.seen("announced under a random name, recognised by its key alone");

    stage.chapter("STEP 12, 13  Ana switches the lamp");
    for (command, is_on) in [("on", true), ("off", false)] {
        let done = house.sect(OWNER, &[command], "").await?;
        stage.command(&format!("sect {command}"), &done.output);
        expect(&done, command)?;
        ensure!(house.outlet_is_on()? == is_on, "the outlet did not switch {command}");
        let lines = house.lcd.online(command).await?;
        stage.draw(&Lcd::drawn(&lines));
        stage.seen(&format!("the outlet is {command}"));
    }
    house.press()?;
    house.lcd.online("on").await?;
    let done = house.sect(OWNER, &["status"], "").await?;
    stage.command("sect status", &done.output);
    expect(&done, "sect status")?;
    ensure!(done.output.contains("button"), "the status does not tell who switched");
    stage.seen("the button works too, and the status tells who it was");

    let mut wire = Wire::open(house.home(), binding).await?;
    let now = wire.ask(&wire.status()?).await?;
    let mut ts = now.ts;
    let mut trips = Vec::with_capacity(MEASURED);
    // The load has power already: each change would go to the cloud server too, as an event.
    for n in 0..MEASURED {
        ts = Micros::new(ts.get() + 1);
        let answer = wire.ask(&wire.command(true, now.boot, ts)?).await?;
        ensure!(answer.code == ReturnCode::Ok, "command {n} was answered {:?}", answer.code);
        trips.push(answer.round_trip);
    }
    trips.sort_unstable();
    stage.value("round trip", format_args!("{} in the median of {MEASURED}", words(trips[MEASURED / 2])));
    stage.seen("sealed, set, answered and opened, each time");
    Ok(())
}

/// What must not work. Gives a command that was sealed before the power was cut and never arrived.
async fn attacks(
    house: &mut Household,
    stage: &mut Stage,
    binding: &Binding,
    passcode: &str,
) -> anyhow::Result<Vec<u8>> {
    let mut wire = Wire::open(house.home(), binding).await?;
    let now = wire.ask(&wire.status()?).await?;

    stage.chapter("ATTACK  A recorded command is sent again");
    let recorded = wire.command(true, now.boot, Micros::new(now.ts.get() + 1))?;
    let first = wire.ask(&recorded).await?;
    let off = wire.command(false, now.boot, Micros::new(now.ts.get() + 2))?;
    ensure!(first.code == ReturnCode::Ok && wire.ask(&off).await?.code == ReturnCode::Ok, "the plug did not switch");
    let again = wire.ask(&recorded).await?;
    ensure!(again.jwe == first.jwe, "the answer to a repeated command is another one");
    ensure!(!house.outlet_is_on()?, "a replayed command switched the outlet");
    stage.seen("the same answer, to the byte, and the outlet stays off");

    stage.chapter("ATTACK  A bit is flipped on the way");
    let command = wire.command(true, now.boot, Micros::new(now.ts.get() + 3))?;
    wire.drain().await;
    let mut forged = command.clone();
    // The first character of the ciphertext: without a MAC this would turn one command into another.
    let place = nth_dot(&command, 3).context("an envelope has five parts")? + 1;
    forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
    wire.send_into_silence(&forged).await?;
    ensure!(!house.outlet_is_on()?, "a forged command switched the outlet");
    stage.seen("not a word comes back, and the outlet stays off");

    stage.chapter("ATTACK  A stranger on the home network");
    let (identity, _) = binding.psk();
    let wrong_key = attacker::knock(house.home(), &identity.to_string(), attacker::made_up_key()).await?;
    let unknown = attacker::knock(house.home(), &attacker::made_up_identity(), attacker::made_up_key()).await?;
    ensure!(
        matches!((&wrong_key, &unknown), (LinkError::KeyRefused, LinkError::KeyRefused)),
        "a wrong key meets {wrong_key}, an unknown identity {unknown}"
    );
    stage.seen("a wrong key is refused, and an unknown identity meets the very same refusal");
    let passcode: Passcode = passcode.parse()?;
    let spent = attacker::knock_with_passcode(house.home(), &passcode).await?;
    ensure!(matches!(spent, LinkError::KeyRefused), "the spent passcode meets {spent}");
    let gone = attacker::knock_with_passcode(house.access_point(), &passcode).await?;
    ensure!(matches!(gone, LinkError::Unreachable { .. }), "the access point is still there: {gone}");
    stage.seen("the passcode is spent, and the plug's own network is gone");

    stage.chapter("ATTACK  The power is cut, and the recording comes out again");
    let withheld = wire.command(true, now.boot, Micros::new(now.ts.get() + 4))?;
    drop(wire);
    house.power_cut().await?;
    house.power_on()?;
    let lines = house.lcd.online("off").await?;
    stage.draw(&Lcd::drawn(&lines));
    stage.seen("a claimed plug shows no passcode again");
    let mut wire = Wire::open(house.home(), binding).await?;
    let stale = wire.ask(&recorded).await?;
    ensure!(stale.code == ReturnCode::Stale, "a command of an earlier start was answered {:?}", stale.code);
    ensure!(!house.outlet_is_on()?, "a command of an earlier start switched the outlet");
    stage.seen("STALE: a command belongs to one start of the plug");
    let done = house.sect(OWNER, &["on"], "").await?;
    stage.command("sect on", &done.output);
    expect(&done, "sect on")?;
    ensure!(house.outlet_is_on()?, "the owner cannot switch any more");
    stage.seen("and Ana goes on as if nothing had happened");
    Ok(withheld)
}

/// STEP 8, 9, 14, 15.
async fn from_anywhere(house: &Household, stage: &mut Stage, binding: &Binding) -> anyhow::Result<()> {
    stage.chapter("STEP 8, 9  The plug has registered with the cloud server");
    registered(house, binding).await?;
    let server = binding.clouds.first().context("the pairing named no cloud server")?;
    stage.value("server", format_args!("{}:{}", server.host, server.port));
    stage.value("it knows", "T_token, Ctlr-U, and the hash of a password made for it alone");
    stage.seen("mutual TLS, the plug by its certificate; the list is in force");

    stage.chapter("STEP 14, 15  Ana is somewhere else");
    for (command, is_on) in [("off", false), ("on", true)] {
        let done = house.sect(OWNER, &["--remote", command], "").await?;
        stage.command(&format!("sect --remote {command}"), &done.output);
        expect(&done, command)?;
        ensure!(house.outlet_is_on()? == is_on, "the outlet did not switch {command}");
    }
    stage.seen("switched through a server that cannot read what it carries");
    let done = house.sect(OWNER, &["status"], "").await?;
    stage.command("sect status", &done.output);
    expect(&done, "sect status")?;
    let both: serde_json::Value =
        serde_json::from_str(&house.sect(OWNER, &["--json", "status"], "").await?.output).context("no JSON")?;
    ensure!(answered_by(&both) == ["cloud", "local"], "not both paths answered: {both}");
    stage.seen("the same question by both paths, and both answered");
    Ok(())
}

/// What somebody can do who runs the server.
async fn hostile_cloud_server(
    house: &Household,
    stage: &mut Stage,
    binding: &Binding,
    withheld: &[u8],
) -> anyhow::Result<()> {
    stage.chapter("ATTACK  The cloud server turns hostile");
    let mut wire = Wire::open_remote(binding).await?;
    let now = wire.ask(&wire.status()?).await?;
    let at = |n| Micros::new(now.ts.get() + n);
    let (recorded, off) = (wire.command(true, now.boot, at(1))?, wire.command(false, now.boot, at(2))?);
    let first = wire.ask(&recorded).await?;
    ensure!(first.code == ReturnCode::Ok && wire.ask(&off).await?.code == ReturnCode::Ok, "the plug did not switch");

    ensure!(wire.ask(&recorded).await?.jwe == first.jwe && !house.outlet_is_on()?, "a replay switched the outlet");
    stage.seen("it replays what it recorded: the same answer, and the outlet stays off");

    let delayed = wire.ask(withheld).await?;
    ensure!(delayed.code == ReturnCode::Stale && !house.outlet_is_on()?, "a withheld command switched the outlet");
    stage.seen("it delivers what it held back until after a power cut: STALE");

    let (earlier, later) = (wire.command(true, now.boot, at(3))?, wire.command(false, now.boot, at(4))?);
    ensure!(wire.ask(&later).await?.code == ReturnCode::Ok, "the plug did not answer");
    let reordered = wire.ask(&earlier).await?;
    ensure!(reordered.code == ReturnCode::Stale && !house.outlet_is_on()?, "a reordered command switched the outlet");
    stage.seen("it swaps the order of two commands: the later one counts, the earlier is STALE");

    let forged = wire.command(true, now.boot, at(5))?;
    wire.drain().await;
    let place = nth_dot(&forged, 3).context("an envelope has five parts")? + 1;
    let mut flipped = forged.clone();
    flipped[place] = if flipped[place] == b'A' { b'B' } else { b'A' };
    wire.send_into_silence(&flipped).await?;
    wire.send_into_silence(&first.jwe).await?;
    ensure!(!house.outlet_is_on()?, "a forged command switched the outlet");
    stage.seen("it forges, and passes an answer off as a command: not a word, and the outlet stays off");
    Ok(())
}

/// What it can do at most: be away.
async fn outage(house: &mut Household, stage: &mut Stage, binding: &Binding) -> anyhow::Result<()> {
    stage.chapter("OUTAGE  The cloud server dies");
    house.cut_cloud().await?;
    let done = house.sect(OWNER, &["on"], "").await?;
    stage.command("sect on", &done.output);
    expect(&done, "sect on")?;
    ensure!(house.outlet_is_on()?, "the plug does not switch at home");
    stage.seen("at home nobody notices");
    house.start_cloud().await?;
    registered(house, binding).await?;
    let done = house.sect(OWNER, &["--remote", "off"], "").await?;
    stage.command("sect --remote off", &done.output);
    expect(&done, "sect --remote off")?;
    ensure!(!house.outlet_is_on()?, "the plug does not switch from elsewhere");
    stage.seen("it comes back with what it had confirmed, and the plug finds it by itself");
    Ok(())
}

/// Waits until the plug says that its list is in force.
async fn registered(house: &Household, binding: &Binding) -> anyhow::Result<()> {
    let mut wire = Wire::open(house.home(), binding).await?;
    let started = Instant::now();
    loop {
        let state = wire.cloud_state().await?;
        if state.as_deref() == Some("registered") {
            return Ok(());
        }
        ensure!(started.elapsed() < HOMECOMING, "the plug stands with its cloud server at {state:?}");
        sleep(GLANCE).await;
    }
}

/// The paths that answered a `sect --json status`.
fn answered_by(status: &serde_json::Value) -> Vec<&str> {
    let paths = status["paths"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut answered: Vec<_> =
        paths.iter().filter(|path| path["answered"] == true).filter_map(|path| path["path"].as_str()).collect();
    answered.sort_unstable();
    answered
}

/// Leaves the plug to the user.
async fn remain(house: &Household, stage: &Stage) -> anyhow::Result<()> {
    let data = house.data(OWNER);
    stage.chapter("The plug stays");
    stage.tell("In a second terminal:");
    let cache = data.join("cache");
    stage.tell(&format!(
        "    export XDG_DATA_HOME={} XDG_CACHE_HOME={} SECT_INTERFACE=lo",
        data.display(),
        cache.display()
    ));
    for command in ["status", "toggle", "watch"] {
        stage.tell(&format!("    {} {command}", house.program().display()));
    }
    stage.tell(&format!("    echo short > {}    # press the button", house.run("button").display()));
    stage.tell(&format!("    cat {}              # look at the display", house.lcd.path().display()));
    stage.tell("This plug is Ana's already, so there is nothing to pair. Ctrl-C here ends it and removes all of it.");
    tokio::signal::ctrl_c().await.context("could not wait for Ctrl-C")
}

pub(super) fn expect(done: &Done, what: &str) -> anyhow::Result<()> {
    match done.code {
        Some(0) => Ok(()),
        code => bail!("{what} ended with {code:?}: {}", done.output),
    }
}

/// Where the `n`th dot stands, from 1.
fn nth_dot(jwe: &[u8], n: usize) -> Option<usize> {
    jwe.iter().enumerate().filter(|(_, c)| **c == b'.').map(|(place, _)| place).nth(n - 1)
}

fn words(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
