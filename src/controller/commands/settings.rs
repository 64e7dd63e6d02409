//! `sect power-on` and `sect name`: what an owner chooses once.

use serde::Serialize;

use super::Context;
use crate::controller::args::{PowerOnState, ThingName};
use crate::controller::exit::Failure;
use crate::proto::operation::Operation;
use crate::proto::operation::argument::{BootSet, NameSet, PowerOn};

#[derive(Serialize)]
struct Chosen<'a> {
    name: &'a str,
    id: String,
    power_on: &'static str,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    id: String,
    thing_name: &'a str,
}

/// What the plug does when power is back.
pub(super) async fn power_on(context: &Context<'_>, wanted: &PowerOnState) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    let mut bound = context.bound(&keyring).await?;
    let state = wanted.state;
    bound.ask(context, Operation::BootSet(BootSet { state })).await?;
    let (alias, id) = (bound.entry.alias.to_string(), bound.entry.binding.thing.to_string());
    context.printer.result(&Chosen { name: &alias, id, power_on: state.as_str() }, || match state {
        PowerOn::Off => format!("{alias} will be off after a power cut"),
        PowerOn::On => format!("{alias} will be on after a power cut"),
        PowerOn::Last => format!("{alias} will be as it was after a power cut"),
    });
    bound.finish(context, None).await;
    Ok(())
}

/// The plug's own name.
pub(super) async fn name(context: &Context<'_>, wanted: &ThingName) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    let mut bound = context.bound(&keyring).await?;
    let name = wanted.name.clone();
    let answer = bound.ask(context, Operation::NameSet(NameSet { name })).await?;
    let (alias, id) = (bound.entry.alias.to_string(), bound.entry.binding.thing.to_string());
    let thing_name = answer.state.name.as_str();
    context.printer.result(&Named { name: &alias, id, thing_name }, || {
        format!("{alias} calls itself {thing_name} now; for you it is still {alias}")
    });
    bound.finish(context, None).await;
    Ok(())
}
