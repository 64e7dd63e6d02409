//! Life with the plug: a second person, new keys, goodbye (SecT STEP 16-20).

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::time::sleep;

use super::attacker::Wire;
use super::household::{Done, Household};
use super::lcd::Lcd;
use super::script::{OWNER, STRANGER, expect};
use super::stage::Stage;
use crate::mqtt::client::LinkError;
use crate::proto::pairing::binding::Binding;

/// The second person.
const GUEST: &str = "Ben";
/// How long a removed user may still hear something.
const OUT: Duration = Duration::from_secs(1);

/// All of it but the goodbye.
pub(super) async fn live(house: &Household, stage: &mut Stage) -> anyhow::Result<()> {
    let guest = second_person(house, stage).await?;
    countdown(house, stage).await?;
    removal(house, stage, &guest).await?;
    new_keys(house, stage).await
}

/// STEP 16.
async fn second_person(house: &Household, stage: &mut Stage) -> anyhow::Result<Binding> {
    stage.chapter("STEP 16  Ben may switch the lamp too");
    let picture = house.data(OWNER).join("invitation.png");
    let picture = picture.to_str().context("the temporary folder's name is no UTF-8")?;
    let invite = ["user", "add", "--name", GUEST, "--role", "operator", "--png", picture];
    let done = house.sect(OWNER, &invite, "").await?;
    stage.command(&format!("sect user add --name {GUEST} --role operator --png invitation.png"), &done.output);
    expect(&done, "sect user add")?;
    stage.seen("the plug has drawn the code, and this program has read it back before it showed it");

    let accept = ["accept", "--image", picture, "--alias", "Lamp"];
    let done = house.sect(GUEST, &accept, "").await?;
    stage.command("sect accept --image invitation.png", &done.output);
    expect(&done, "sect accept")?;
    let (guest, owner) = (house.binding(GUEST)?, house.binding(OWNER)?);
    ensure!(guest.thing == owner.thing && guest.topic != owner.topic, "Ben got Ana's topic");
    ensure!(guest.keys().c2t.kid() != owner.keys().c2t.kid(), "Ben got Ana's key");
    stage.seen("Ben has a key, a topic and a password of his own, and none of Ana's");

    let at = house.home().to_string();
    let again = ["--address", &at, "--timeout", "3", "accept", "--image", picture, "--alias", "Lamp"];
    let done = house.sect(STRANGER, &again, "").await?;
    stage.command("sect accept --image invitation.png    # Mallory has photographed it", &done.output);
    ensure!(done.code != Some(0), "an invitation was used twice");
    let users = json(&house.sect(OWNER, &["--json", "user", "list"], "").await?)?;
    let seen = users["users"].as_array().is_some_and(|users| users.iter().any(|user| user["reused"] == true));
    ensure!(seen, "the owner does not see that the invitation was used twice: {users}");
    stage.seen("a second use gets nowhere, and Ana sees that somebody tried");

    let done = house.sect(GUEST, &["off"], "").await?;
    stage.command("sect off    # Ben", &done.output);
    expect(&done, "sect off")?;
    ensure!(!house.outlet_is_on()?, "Ben cannot switch");
    for command in [&["user", "add", "--name", STRANGER][..], &["name", "Mine"], &["power-on", "on"]] {
        let done = house.sect(GUEST, command, "").await?;
        ensure!(done.code == Some(4), "{command:?} by an operator ended with {:?}: {}", done.code, done.output);
    }
    stage.seen("he switches; inviting, renaming and settings are the owner's (exit code 4)");
    Ok(guest)
}

/// A timer needs no clock.
async fn countdown(house: &Household, stage: &mut Stage) -> anyhow::Result<()> {
    stage.chapter("A DAY  On in a second, without anybody's clock");
    let done = house.sect(OWNER, &["timer", "on", "--in", "1s"], "").await?;
    stage.command("sect timer on --in 1s", &done.output);
    expect(&done, "sect timer")?;
    let lines = house.lcd.online("on").await?;
    stage.draw(&Lcd::drawn(&lines));
    let done = house.sect(OWNER, &["history", "--limit", "3"], "").await?;
    stage.command("sect history --limit 3", &done.output);
    expect(&done, "sect history")?;
    ensure!(done.output.contains(GUEST) && done.output.contains("timer"), "the history does not tell who it was");
    stage.seen("the countdown switched, and the history tells who did what");
    Ok(())
}

/// STEP 17.
async fn removal(house: &Household, stage: &mut Stage, guest: &Binding) -> anyhow::Result<()> {
    stage.chapter("STEP 17  Ben has moved out");
    let mut session = Wire::open(house.home(), guest).await?;
    let done = house.sect(OWNER, &["user", "remove", GUEST, "--yes"], "").await?;
    stage.command(&format!("sect user remove {GUEST}"), &done.output);
    expect(&done, "sect user remove")?;
    ensure!(session.ends_within(OUT).await, "a removed user's session goes on");
    stage.seen("his open session ended at once");
    let refused = Wire::open(house.home(), guest).await.err().context("a removed user came back")?;
    let refused = refused.downcast::<LinkError>()?;
    ensure!(matches!(refused, LinkError::KeyRefused), "a removed user meets: {refused}");
    let started = Instant::now();
    while Wire::open_remote(guest).await.is_ok() {
        ensure!(started.elapsed() < OUT * 5, "the cloud server still takes a removed user");
        sleep(OUT / 20).await;
    }
    stage.seen("his key opens nothing at home, and his password nothing at the cloud server");
    let done = house.sect(GUEST, &["forget", "--device", "Lamp", "--yes"], "").await?;
    stage.command("sect forget --device Lamp --yes    # Ben", &done.output);
    expect(&done, "sect forget")?;
    Ok(())
}

/// STEP 6 and 3 again.
async fn new_keys(house: &Household, stage: &mut Stage) -> anyhow::Result<()> {
    stage.chapter("STEP 6, 3 AGAIN  New keys and a new topic");
    let before = house.binding(OWNER)?;
    let done = house.sect(OWNER, &["rekey"], "").await?;
    stage.command("sect rekey", &done.output);
    expect(&done, "sect rekey")?;
    let after = house.binding(OWNER)?;
    ensure!(after.epoch == before.epoch + 1 && after.topic != before.topic, "key or topic are the old ones");
    stage.value("epoch", format_args!("{} -> {}", before.epoch, after.epoch));
    stage.value("T_token", format_args!("{} -> {}", before.topic.as_str(), after.topic.as_str()));
    ensure!(Wire::open(house.home(), &before).await.is_err(), "the old key still opens the plug");
    let done = house.sect(OWNER, &["off"], "").await?;
    expect(&done, "sect off")?;
    ensure!(!house.outlet_is_on()?, "the new key does not switch");
    stage.seen("the old key opens nothing, and the new one switches");
    Ok(())
}

/// STEP 20.
pub(super) async fn goodbye(house: &Household, stage: &mut Stage, passcode: &str) -> anyhow::Result<()> {
    stage.chapter("STEP 20  Ana gives the plug away");
    let binding = house.binding(OWNER)?;
    let done = house.sect(OWNER, &["unpair", "--device", "Lamp", "--yes"], "").await?;
    stage.command("sect unpair --device Lamp --yes", &done.output);
    expect(&done, "sect unpair")?;
    let (lines, (ssid, fresh)) = house.lcd.passcode().await?;
    stage.draw(&Lcd::drawn(&lines));
    ensure!(fresh != passcode, "the passcode is the old one");
    ensure!(Wire::open(house.home(), &binding).await.is_err(), "the former owner still gets in");
    let secrets =
        [binding.topic.as_str().as_bytes(), binding.credentials.password.expose().as_bytes(), binding.master.expose()];
    ensure!(!house.store_holds(&secrets)?, "a secret of the former owner is still on the plug's disk");
    stage.seen("it has forgotten her: not a byte of her secrets is left in its files");
    let done = house.pair(GUEST, &ssid, &fresh).await?;
    stage.command("sect pair    # Ben", &done.output);
    expect(&done, "sect pair")?;
    ensure!(house.binding(GUEST)?.thing == binding.thing, "it is another plug");
    house.lcd.online("off").await?;
    stage.seen("and belongs to whoever reads its display next");
    Ok(())
}

fn json(done: &Done) -> anyhow::Result<serde_json::Value> {
    expect(done, "sect --json")?;
    serde_json::from_str(&done.answer).context("no JSON")
}
