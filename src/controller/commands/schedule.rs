//! `sect schedule`: weekly schedules, and the time that a plug needs for them.

use serde::Serialize;

use super::Context;
use super::bound::Bound;
use crate::controller::args::Schedule;
use crate::controller::exit::{Exit, Failure};
use crate::controller::print::table;
use crate::controller::session::accepted;
use crate::controller::zone;
use crate::proto::message::ReturnCode;
use crate::proto::operation::{Operation, argument, result};

/// What scripts read of one schedule.
#[derive(Serialize)]
struct Row {
    id: u64,
    days: String,
    at: String,
    state: &'static str,
}

#[derive(Serialize)]
struct Listed {
    schedules: Vec<Row>,
    /// Whether the plug knows time and zone; without them no schedule runs.
    clock: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

#[derive(Serialize)]
struct Added {
    id: u64,
    clock: bool,
}

#[derive(Serialize)]
struct Removed {
    removed: u64,
}

#[derive(Serialize)]
struct Told {
    zone: String,
    clock: bool,
}

/// Does one of the four.
pub(super) async fn run(context: &Context<'_>, wanted: &Schedule) -> Result<(), Failure> {
    // What cannot be understood is said before anybody is asked.
    let schedule = match wanted {
        Schedule::Add(wanted) => Some(wanted.schedule().map_err(|error| Failure::new(Exit::Usage, error.to_string()))?),
        _ => None,
    };
    let zone = match wanted {
        Schedule::Zone { zone: None } => Some(zone::local().ok_or_else(no_zone)?),
        Schedule::Zone { zone: Some(name) } => Some(zone::named(name).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("there is no time zone {name}"))
                .next("`timedatectl list-timezones` lists the names")
        })?),
        _ => None,
    };
    let keyring = context.keyring()?;
    let mut bound = context.bound(&keyring).await?;
    let alias = bound.entry.alias.to_string();
    match wanted {
        Schedule::Add(_) => {
            let Some(schedule) = schedule else { return Err(Failure::new(Exit::Usage, "no schedule")) };
            let text = schedule.to_string();
            let answer = bound.request(context, Operation::ScheduleSet(schedule)).await?;
            if answer.rc == ReturnCode::Busy {
                return Err(Failure::new(Exit::Other, format!("{alias} has no room for one more schedule"))
                    .next("`sect schedule list` lists them, and `sect schedule remove` makes room"));
            }
            let mut set: result::ScheduleSet = accepted(&alias, answer)?.read()?;
            if !set.clock {
                let known = list(context, &mut bound).await?;
                set.clock = tell_time(context, &mut bound, known.zone.is_none()).await;
            }
            context
                .printer
                .result(&Added { id: set.id, clock: set.clock }, || format!("{alias}: schedule {} is {text}", set.id));
        }
        Schedule::List => {
            let mut known = list(context, &mut bound).await?;
            if !known.clock && !known.items.is_empty() {
                known.clock = tell_time(context, &mut bound, known.zone.is_none()).await;
            }
            print(context, &alias, known);
        }
        Schedule::Remove { id } => {
            bound.ask(context, Operation::ScheduleClear(argument::ScheduleClear { id: *id })).await.map_err(
                |failure| match failure.exit {
                    Exit::NotFound => Failure::new(Exit::NotFound, format!("{alias} has no schedule {id}"))
                        .next("`sect schedule list` lists them"),
                    _ => failure,
                },
            )?;
            context.printer.result(&Removed { removed: *id }, || format!("{alias}: schedule {id} is removed"));
        }
        Schedule::Zone { .. } => {
            let zone = zone.map(|zone| zone.to_string()).unwrap_or_default();
            let told = argument::TimeSet { unix_ms: zone::unix_ms(), zone: Some(zone.clone()) };
            bound.ask(context, Operation::TimeSet(told)).await?;
            context
                .printer
                .result(&Told { zone: zone.clone(), clock: true }, || format!("{alias} goes by {zone} from now on"));
        }
    }
    bound.finish(context, None).await;
    Ok(())
}

/// All pages as one.
async fn list(context: &Context<'_>, bound: &mut Bound<'_>) -> Result<result::Schedules, Failure> {
    let mut all = result::Schedules { items: Vec::new(), next: Some(0), clock: false, zone: None };
    while let Some(from) = all.next {
        let page = bound.ask(context, Operation::ScheduleList(argument::From { from })).await?;
        let page: result::Schedules = page.read()?;
        all.items.extend(page.items);
        // A page that leads back would have no end.
        all = result::Schedules { items: all.items, next: page.next.filter(|next| *next > from), ..page };
    }
    Ok(all)
}

/// Tells a plug that does not know it what time it is; says so where that does not help.
async fn tell_time(context: &Context<'_>, bound: &mut Bound<'_>, zone_too: bool) -> bool {
    let alias = bound.entry.alias.to_string();
    let zone = zone_too.then(zone::local).flatten();
    if zone_too && zone.is_none() {
        context.printer.warning(&format!("{alias} has no time zone, and {}", no_zone().message));
        return false;
    }
    let told = argument::TimeSet { unix_ms: zone::unix_ms(), zone: zone.map(|zone| zone.to_string()) };
    match bound.ask(context, Operation::TimeSet(told)).await {
        Ok(_) => {
            context.printer.step(&format!("{alias} did not know the time and was told"));
            true
        }
        Err(failure) if failure.exit == Exit::Denied => {
            context.printer.warning(&format!(
                "{alias} does not know the time of day, so no schedule runs; `sect schedule list` of an owner tells it"
            ));
            false
        }
        Err(failure) => {
            context.printer.warning(&format!("{alias} does not know the time of day: {failure}"));
            false
        }
    }
}

fn no_zone() -> Failure {
    Failure::new(Exit::Other, "this computer does not know its own time zone")
        .next("name it, as in `sect schedule zone Europe/Berlin`")
}

fn print(context: &Context<'_>, alias: &str, known: result::Schedules) {
    let row = |item: &result::ScheduleItem| Row {
        id: item.id,
        days: item.days.to_string(),
        at: format!("{:02}:{:02}", item.at.get() / 60, item.at.get() % 60),
        state: super::report::on_or_off(item.on),
    };
    let schedules: Vec<Row> = known.items.iter().map(row).collect();
    let listed = Listed { schedules, clock: known.clock, zone: known.zone };
    context.printer.result(&listed, || {
        if listed.schedules.is_empty() {
            return format!("{alias} has no schedule");
        }
        let cells = |row: &Row| vec![row.id.to_string(), row.days.clone(), row.at.clone(), row.state.to_owned()];
        table(&["ID", "DAYS", "AT", "STATE"], listed.schedules.iter().map(cells))
    });
}
