//! `sect history`: what a plug has written down.

use std::time::Duration;

use super::Context;
use super::report::spoken;
use crate::controller::args::History;
use crate::controller::exit::Failure;
use crate::controller::print::table;
use crate::controller::zone;
use crate::proto::calendar::Zone;
use crate::proto::operation::result::HistoryItem;
use crate::proto::operation::{Operation, argument, result};

/// Reads page after page until there is enough.
pub(super) async fn run(context: &Context<'_>, wanted: &History) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    let mut bound = context.bound(&keyring).await?;
    let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    let user = wanted.user.as_ref().map(|name| name.as_str().to_lowercase());
    let is_wanted = |item: &HistoryItem| match (&user, &item.who) {
        (None, _) => true,
        (Some(user), Some(who)) => who.as_str().to_lowercase() == *user,
        (Some(_), None) => false,
    };
    let (mut lines, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next.filter(|_| lines.len() < limit) {
        let asked = Operation::HistoryList(argument::HistoryList { from, cid: None });
        let page: result::History = bound.ask(context, asked).await?.read()?;
        lines.extend(page.items.into_iter().filter(is_wanted));
        // A page that leads back would have no end.
        next = page.next.filter(|next| from == 0 || *next < from);
    }
    lines.truncate(limit);
    context.printer.result(&lines, || text(bound.entry.alias.as_str(), &lines, zone::local().as_ref()));
    bound.finish(context, None).await;
    Ok(())
}

fn text(alias: &str, lines: &[HistoryItem], zone: Option<&Zone>) -> String {
    if lines.is_empty() {
        return format!("{alias} has written nothing down");
    }
    let who = |item: &HistoryItem| item.who.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    table(&["WHEN", "WHO", "WHAT"], lines.iter().map(|item| vec![when(item, zone), who(item), item.what.clone()]))
}

/// `2026-11-20 07:30:00`, or `12 min after a start`.
fn when(item: &HistoryItem, zone: Option<&Zone>) -> String {
    match (item.unix, item.up) {
        (Some(unix), _) => {
            let utc = "UTC0".parse::<Zone>().ok();
            let local = |zone: &Zone| zone.local(unix.saturating_mul(1000)).strftime("%Y-%m-%d %H:%M:%S").to_string();
            let text = zone.or(utc.as_ref()).map(local).unwrap_or_default();
            if zone.is_some() { text } else { format!("{text} UTC") }
        }
        (None, Some(up)) => match spoken(Duration::from_secs(up)) {
            Some(up) => format!("{up} after a start"),
            None => "at a start".to_owned(),
        },
        (None, None) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(unix: Option<u64>, up: Option<u64>, who: Option<&str>, what: &str) -> HistoryItem {
        HistoryItem { unix, up, who: who.map(|who| who.parse().expect("a name")), what: what.to_owned() }
    }

    #[test]
    fn local_time_stands_where_the_plug_knew_it_and_the_time_since_its_start_where_not() {
        let zone: Zone = "CET-1CEST,M3.5.0,M10.5.0/3".parse().expect("a zone");
        let lines = [
            item(Some(1_795_156_200), None, Some("Ben"), "on"),
            item(None, Some(720), None, "off by button"),
            item(None, Some(0), None, "power is back: off"),
        ];
        let text = text("Kitchen", &lines, Some(&zone));
        let rows: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            rows,
            [
                "WHEN WHO WHAT",
                "2026-11-20 07:30:00 Ben on",
                "12 min after a start - off by button",
                "at a start - power is back: off",
            ]
        );
        assert_eq!(when(&lines[0], None), "2026-11-20 06:30:00 UTC");
    }
}
