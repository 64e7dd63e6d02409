//! `sect forget`: removes a plug from the keyring, for good.

use serde::Serialize;

use super::{Context, LOCK_PATIENCE};
use crate::controller::args::Forget;
use crate::controller::exit::{Exit, Failure};
use crate::controller::secrets::Prompt;

#[derive(Serialize)]
struct Forgotten<'a> {
    forgotten: &'a str,
    id: String,
}

/// Asks, then removes.
pub(super) async fn run(context: &Context<'_>, how: &Forget) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    let entry = context.device(&keyring)?;
    let (alias, thing) = (entry.alias.as_str(), entry.binding.thing);
    if !how.yes {
        context.printer.progress(&format!(
            "Your keys for {alias} will be gone for good. The plug itself is not unpaired: it goes on counting you as its user."
        ));
        if !Prompt::new(context.printer).confirm(&format!("Forget {alias}?"), "--yes")? {
            return Err(Failure::new(Exit::Denied, format!("{alias} was not forgotten")));
        }
    }
    keyring.lock(&thing, LOCK_PATIENCE).await?.forget()?;
    context.addresses.forget(&thing);
    context
        .printer
        .result(&Forgotten { forgotten: alias, id: thing.to_string() }, || format!("{alias} is forgotten here."));
    Ok(())
}
