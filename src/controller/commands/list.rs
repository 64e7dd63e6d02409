//! `sect list`: the keyring, without asking anybody.

use std::net::SocketAddr;

use serde::Serialize;

use super::Context;
use crate::controller::exit::Failure;
use crate::controller::keyring::Entry;
use crate::controller::print::table;

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    id: String,
    /// Your name, as the plug knows it.
    user: &'a str,
    /// Whether the plug has answered since it was paired.
    confirmed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_address: Option<SocketAddr>,
}

/// Prints the keyring.
pub(super) fn run(context: &Context<'_>) -> Result<(), Failure> {
    let entries = context.contents(&context.keyring()?)?.entries;
    let rows: Vec<Row<'_>> = entries.iter().map(|entry| row(context, entry)).collect();
    context.printer.result(&rows, || {
        if rows.is_empty() {
            return "There is no plug in your keyring yet; `sect pair` adds one.".to_owned();
        }
        table(
            &["NAME", "ID", "YOU ARE", "LAST AT", ""],
            rows.iter().map(|row| {
                vec![
                    row.name.to_owned(),
                    row.id.clone(),
                    row.user.to_owned(),
                    row.last_address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
                    if row.confirmed { String::new() } else { "not confirmed yet: ask its `sect status`".to_owned() },
                ]
            }),
        )
    });
    Ok(())
}

fn row<'a>(context: &Context<'_>, entry: &'a Entry) -> Row<'a> {
    Row {
        name: entry.alias.as_str(),
        id: entry.binding.thing.to_string(),
        user: entry.binding.name.as_str(),
        confirmed: entry.binding.confirmed,
        last_address: context.addresses.last(&entry.binding.thing),
    }
}
