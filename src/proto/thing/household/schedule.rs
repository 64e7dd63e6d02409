//! Weekly schedules: what runs next, and that nothing runs twice.
//!
//! No schedule runs without time of day and zone. A day of a schedule runs at most once in this start of the
//! daemon, however the clock is set. One that is up to [`CATCH_UP`] late is caught up with, for a clock that was
//! told late or set forward; older ones, those from before this start and those from before the schedule was
//! made are not. Of several that are due together the latest alone decides.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::civil::Date;

use super::HouseholdState;
use super::act::Done;
use super::page::Page;
use crate::proto::calendar::{ClockSource, Occurrence, WallClock, Zone, occurrences};
use crate::proto::message::{OutletState, ReturnCode};
use crate::proto::operation::argument::{From, Schedule, ScheduleClear, TimeSet};
use crate::proto::operation::result::{ScheduleItem, ScheduleSet, Schedules};
use crate::proto::port::Ports;
use crate::proto::record::StoredSchedule;
use crate::proto::thing::Core;
use crate::proto::thing::registrar::Registrar;
use crate::proto::time::Micros;

/// Schedules of one household at most.
const MAX_SCHEDULES: usize = 32;
/// What should have run this long ago still runs.
const CATCH_UP: Duration = Duration::from_secs(5 * 60);
/// Days of each schedule that are known to have run: more than two weeks of a daily one.
const MAX_RAN: usize = 16;

/// What the schedules come to.
#[derive(Default)]
pub(super) struct Plan {
    zone: Option<Zone>,
    schedules: Vec<Planned>,
    next: Option<Micros>,
}

/// What is known of one schedule since this start.
struct Planned {
    id: u64,
    /// Nothing before this is its business.
    since: Micros,
    ran: VecDeque<Date>,
}

impl Plan {
    /// When something is due.
    pub(super) fn next(&self) -> Option<Micros> {
        self.next
    }
}

impl Planned {
    /// What it still has to do, of what is at most [`CATCH_UP`] late.
    fn open<'a>(
        &'a self,
        schedule: &'a Schedule,
        zone: &'a Zone,
        wall: &'a WallClock,
        now: Micros,
    ) -> impl Iterator<Item = (Occurrence, Micros)> + 'a {
        let late = u64::try_from(CATCH_UP.as_millis()).unwrap_or(u64::MAX);
        let earliest = wall.unix_ms(now).saturating_sub(late);
        occurrences(schedule, zone, earliest)
            .filter(move |one| one.unix_ms >= earliest && !self.ran.contains(&one.date()))
            .filter_map(|one| Some((one, wall.moment(one.unix_ms)?)))
            .filter(|(_, moment)| *moment >= self.since)
    }
}

impl HouseholdState {
    /// Schedules, zone or clock have changed: what is next?
    pub(in crate::proto::thing) fn plan_day(&mut self, core: &Core, now: Micros) {
        let (plan, household) = (&mut self.plan, &self.household);
        if plan.zone.as_ref().map(Zone::as_str) != household.zone.as_deref() {
            // A zone that does not read any more was written by another version: as good as none.
            plan.zone = household.zone.as_deref().and_then(|zone| zone.parse().ok());
        }
        plan.schedules.retain(|planned| household.schedules.iter().any(|stored| stored.id == planned.id));
        plan.next = None;
        let (Some(wall), Some(zone)) = (&core.wall, &plan.zone) else { return };
        let next = household.schedules.iter().filter_map(|stored| {
            let planned = plan.schedules.iter().find(|planned| planned.id == stored.id)?;
            planned.open(&stored.schedule, zone, wall, now).map(|(_, moment)| moment).min()
        });
        plan.next = next.min();
    }

    /// Whether schedules run.
    fn has_clock(&self, core: &Core) -> bool {
        core.wall.is_some() && self.plan.zone.is_some()
    }

    /// The schedule is known from now on, or, for those of the store, since the start.
    pub(super) fn plan_from(&mut self, id: u64, since: Micros) {
        self.plan.schedules.push(Planned { id, since, ran: VecDeque::new() });
    }

    /// What the load shall have by a schedule that is due now.
    pub(super) fn due(&mut self, core: &Core, now: Micros) -> Option<OutletState> {
        self.plan.next.filter(|next| now >= *next)?;
        let mut latest = None;
        if let (Some(wall), Some(zone)) = (&core.wall, &self.plan.zone) {
            for StoredSchedule { id, schedule } in &self.household.schedules {
                let Some(planned) = self.plan.schedules.iter_mut().find(|planned| planned.id == *id) else { continue };
                let due: Vec<_> =
                    planned.open(schedule, zone, wall, now).filter(|(_, moment)| now >= *moment).collect();
                for (one, _) in due {
                    if planned.ran.len() == MAX_RAN {
                        planned.ran.pop_front();
                    }
                    planned.ran.push_back(one.date());
                    latest = latest.max(Some((one, *id, schedule.on)));
                }
            }
        }
        self.plan_day(core, now);
        latest.map(|(_, _, on)| OutletState::from_on(on))
    }

    /// `schedule.set`. The same schedule again is the one that is there.
    pub(super) fn set_schedule(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        schedule: Schedule,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Result<Done, ReturnCode> {
        let clock = self.has_clock(core);
        if let Some(same) = self.household.schedules.iter().find(|stored| stored.schedule == schedule) {
            return Ok(Done::with(&ScheduleSet { id: same.id, clock }));
        }
        if self.household.schedules.len() >= MAX_SCHEDULES {
            return Err(ReturnCode::Busy);
        }
        let id = self.household.next_schedule;
        let staged = self.persist(registrar, ports, |household| {
            household.schedules.push(StoredSchedule { id, schedule });
            household.next_schedule = id + 1;
        })?;
        self.adopt(core, registrar, staged, now);
        self.plan_from(id, now);
        self.plan_day(core, now);
        Ok(Done::with(&ScheduleSet { id, clock }))
    }

    /// `schedule.clear`.
    pub(super) fn clear_schedule(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        ScheduleClear { id }: &ScheduleClear,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Result<Done, ReturnCode> {
        if !self.household.schedules.iter().any(|stored| stored.id == *id) {
            return Err(ReturnCode::NotFound);
        }
        let staged = self.persist(registrar, ports, |household| household.schedules.retain(|one| one.id != *id))?;
        self.adopt(core, registrar, staged, now);
        self.plan_day(core, now);
        Ok(Done::default())
    }

    /// `schedule.list`.
    pub(super) fn list_schedules(&self, core: &Core, From { from }: From) -> Done {
        let stored = self.household.schedules.iter().filter(|stored| stored.id >= from);
        let items = stored.map(|StoredSchedule { id, schedule: Schedule { days, at, on } }| ScheduleItem {
            id: *id,
            days: *days,
            at: *at,
            on: *on,
        });
        let (items, left) = Page::fill(items);
        let zone = self.plan.zone.as_ref().map(Zone::to_string);
        Done::with(&Schedules { items, next: left.map(|item| item.id), clock: self.has_clock(core), zone })
    }

    /// `time.set`. What a time server says through the machine's own clock goes before what an owner says.
    pub(super) fn set_time(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        TimeSet { unix_ms, zone }: &TimeSet,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Result<Done, ReturnCode> {
        let wall = WallClock::new(ClockSource::Owner, *unix_ms, now).ok_or(ReturnCode::BadRequest)?;
        if let Some(zone) = zone {
            let zone: Zone = zone.parse().map_err(|_| ReturnCode::BadRequest)?;
            if self.household.zone.as_deref() != Some(zone.as_str()) {
                let staged = self.persist(registrar, ports, |household| household.zone = Some(zone.to_string()))?;
                self.adopt(core, registrar, staged, now);
            }
        }
        if core.wall.is_none_or(|known| known.source == ClockSource::Owner) {
            core.wall = Some(wall);
        }
        self.plan_day(core, now);
        Ok(Done::default())
    }
}
