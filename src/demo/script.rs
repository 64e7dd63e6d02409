//! The story: STEP by STEP, then the attacker.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::attacker::{self, Wire};
use super::household::{Done, HOME_SSID, Household};
use super::lcd::Lcd;
use super::stage::Stage;
use crate::mqtt::client::LinkError;
use crate::proto::message::ReturnCode;
use crate::proto::pairing::binding::Binding;
use crate::proto::passcode::Passcode;
use crate::proto::time::Micros;

/// The owner.
const OWNER: &str = "Ana";
/// Somebody else.
const STRANGER: &str = "Mallory";
/// Commands whose round trips are measured.
const MEASURED: usize = 51;

/// Plays everything; with `stay`, leaves the plug running until Ctrl-C.
pub(super) async fn play(stay: bool) -> anyhow::Result<()> {
    let mut house = Household::new()?;
    let mut stage = Stage::new();
    let played = act(&mut house, &mut stage).await;
    if played.is_err() {
        stage.tell(&format!("\nThe plug's log:\n{}", house.log_text()));
    }
    played?;
    stage.close();
    if stay { remain(&house, &stage).await } else { Ok(()) }
}

async fn act(house: &mut Household, stage: &mut Stage) -> anyhow::Result<()> {
    let (ssid, passcode) = first_power_up(house, stage).await?;
    wrong_passcode(house, stage, &ssid, &passcode).await?;
    let binding = pairing(house, stage, &ssid, &passcode).await?;
    switching(house, stage, &binding).await?;
    attacks(house, stage, &binding, &passcode).await
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
    let done = house.sect(OWNER, &["discover", "--timeout", "2"], "").await?;
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
    for n in 0..MEASURED {
        ts = Micros::new(ts.get() + 1);
        let answer = wire.ask(&wire.command(n % 2 == 0, now.boot, ts)?).await?;
        ensure!(answer.code == ReturnCode::Ok, "command {n} was answered {:?}", answer.code);
        trips.push(answer.round_trip);
    }
    trips.sort_unstable();
    stage.value("round trip", format_args!("{} in the median of {MEASURED}", words(trips[MEASURED / 2])));
    stage.seen("sealed, switched, answered and opened, each time");
    Ok(())
}

/// What must not work.
async fn attacks(house: &mut Household, stage: &mut Stage, binding: &Binding, passcode: &str) -> anyhow::Result<()> {
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
    Ok(())
}

/// Leaves the plug to the user.
async fn remain(house: &Household, stage: &Stage) -> anyhow::Result<()> {
    let data = house.data(OWNER);
    stage.chapter("The plug stays");
    stage.tell("In a second terminal:");
    stage.tell(&format!("    export XDG_DATA_HOME={} SECT_INTERFACE=lo", data.display()));
    for command in ["status", "toggle", "watch"] {
        stage.tell(&format!("    {} {command}", house.program().display()));
    }
    stage.tell(&format!("    echo short > {}    # press the button", house.run("button").display()));
    stage.tell(&format!("    cat {}              # look at the display", house.lcd.path().display()));
    stage.tell("Ctrl-C here ends it and removes all of it.");
    tokio::signal::ctrl_c().await.context("could not wait for Ctrl-C")
}

fn expect(done: &Done, what: &str) -> anyhow::Result<()> {
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
