//! `sect unpair`: gives a plug up, for whoever has it next (SecT STEP 20).

use serde::Serialize;

use super::Context;
use super::bound::Bound;
use crate::controller::args::Unpair;
use crate::controller::exit::{Exit, Failure};
use crate::controller::keyring::same_alias;
use crate::controller::secrets::Prompt;
use crate::proto::operation::Operation;
use crate::proto::operation::argument::{self, Confirmation};
use crate::proto::user::Name;

#[derive(Serialize)]
struct Unpaired<'a> {
    unpaired: &'a str,
    id: String,
}

/// Asks, lets the plug forget everybody, then forgets the plug.
pub(super) async fn run(context: &Context<'_>, how: &Unpair) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    let entry = context.device(&keyring)?;
    if !how.yes {
        ask(context, &entry.alias)?;
    } else if context.global.device.is_none() {
        return Err(Failure::new(Exit::Usage, "--yes needs --device: no plug is given up because it is the only one"));
    }
    let mut bound = Bound::open(&keyring, entry, &context.search()).await?;
    let confirm = Confirmation::Unpair;
    let asked = bound.ask(context, Operation::Unpair(argument::Unpair { confirm })).await;
    let Bound { place, entry, session, .. } = bound;
    session.close().await;
    asked.map_err(|failure| if failure.exit == Exit::Timeout { unknown(&entry.alias) } else { failure })?;
    // Only now: without an answer these keys may be the only way to it.
    place.forget()?;
    context.addresses.forget(&entry.binding.thing);
    let alias = entry.alias.as_str();
    context.printer.result(&Unpaired { unpaired: alias, id: entry.binding.thing.to_string() }, || {
        format!("{alias} is nobody's any more. Its display shows a code as soon as it has forgotten everybody.")
    });
    Ok(())
}

/// A yes is typed too easily for what cannot be taken back.
fn ask(context: &Context<'_>, alias: &Name) -> Result<(), Failure> {
    context.printer.progress(&format!(
        "{alias} will forget everybody: you, all its other users, its schedules and its history. Then it belongs to \
         whoever reads its display."
    ));
    let typed: Name = Prompt::new(context.printer).ask(&format!("Type {alias} to give it up:"), "--yes")?;
    if same_alias(&typed, alias) {
        return Ok(());
    }
    Err(Failure::new(Exit::Denied, format!("{alias} was not given up")))
}

fn unknown(alias: &Name) -> Failure {
    Failure::new(Exit::Timeout, format!("{alias} did not answer: nobody knows whether it has forgotten you")).next(
        format!(
            "look at its display: with a code on it, it has, and `sect forget --device {alias}` removes your keys. \
             Otherwise try again"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_sends_its_owner_to_the_display_and_keeps_the_keys() {
        let failure = unknown(&"Lamp".parse().expect("a name"));
        assert_eq!(failure.exit, Exit::Timeout);
        assert!(failure.next.expect("a next step").contains("`sect forget --device Lamp`"));
    }
}
