//! The countdown, and what follows when the load is switched at home, by whatever.
//!
//! A countdown counts thing time and is kept in memory alone: it needs no clock and no network, and a start of
//! the daemon forgets it. It ends when the load gets the state that it was to bring about, whoever gives it:
//! what was switched off by hand and on again later is not switched off by a countdown from before.

use std::time::Duration;

use super::act::Done;
use super::{Asker, HouseholdState};
use crate::proto::message::{OutletState, ReturnCode, SwitchedBy};
use crate::proto::operation::argument::{BootSet, PowerOn, TimerSet};
use crate::proto::operation::result;
use crate::proto::port::{OutletFault, Ports};
use crate::proto::thing::registrar::Registrar;
use crate::proto::thing::{Core, News};
use crate::proto::time::Micros;

/// What the load has is remembered this long after it was switched last, so that no command waits for the disk
/// and a load that is switched often wears nothing out.
const REMEMBER_AFTER: Duration = Duration::from_secs(2);
/// A store that refused is asked again after this long.
const REMEMBER_AGAIN: Duration = Duration::from_secs(60);
/// A countdown whose outlet did not switch tries again after this long: it may be what turns a heater off.
const SWITCH_AGAIN: Duration = Duration::from_secs(10);

/// A switching to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Countdown {
    state: OutletState,
    at: Micros,
}

/// What the household wants at a moment of thing time.
#[derive(Default)]
pub(super) struct Timers {
    countdown: Option<Countdown>,
    remember_at: Option<Micros>,
}

impl Timers {
    /// The countdown, for an answer to `status`.
    pub(super) fn countdown(&self) -> Option<result::Countdown> {
        self.countdown.map(|countdown| result::Countdown { on: countdown.state.is_on(), at: countdown.at })
    }
}

impl HouseholdState {
    /// Switches the load for somebody or something of the household.
    pub(in crate::proto::thing) fn switch(
        &mut self,
        core: &mut Core,
        state: OutletState,
        by: SwitchedBy,
        user: Option<usize>,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Result<News, OutletFault> {
        let user = user.map(|index| &self.household.controllers[index]);
        let news = core.switch(state, by, user.map(|user| &user.name), now, ports.outlet)?;
        self.timers.countdown.take_if(|countdown| countdown.state == state);
        if news == News::Yes {
            if self.household.power_on == PowerOn::Last {
                self.timers.remember_at = Some(now.after(REMEMBER_AFTER));
            }
            core.note(user.map(|user| (user.cid, user.name.clone())), switched(state, by), now, ports.vault);
        }
        Ok(news)
    }

    /// The store may not hold what the load has: the daemon ended before it was remembered.
    pub(in crate::proto::thing) fn remember_soon(&mut self, now: Micros) {
        if self.household.power_on == PowerOn::Last {
            self.timers.remember_at = Some(now.after(REMEMBER_AFTER));
        }
    }

    /// `timer.set`.
    pub(super) fn set_timer(&mut self, wanted: &TimerSet, now: Micros) -> Done {
        let at = now.after(wanted.in_s.seconds());
        self.timers.countdown = Some(Countdown { state: OutletState::from_on(wanted.on), at });
        Done::with(&result::TimerSet { at })
    }

    /// `timer.clear`.
    pub(super) fn clear_timer(&mut self) -> Done {
        self.timers.countdown = None;
        Done::default()
    }

    /// `boot.set`. From now on `last` finds something in the store at any power cut.
    pub(super) fn set_power_on(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        wanted: &BootSet,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Result<Done, ReturnCode> {
        if wanted.state == PowerOn::Last {
            ports.vault.remember(core.outlet.state).map_err(|_| ReturnCode::Storage)?;
        }
        let staged = self.persist(registrar, ports, |household| household.power_on = wanted.state)?;
        self.adopt(core, registrar, staged, now);
        self.timers.remember_at = None;
        Ok(Done::default())
    }

    /// When [`Self::handle_day`] has something to do.
    pub(in crate::proto::thing) fn poll_day(&self) -> Option<Micros> {
        let countdown = self.timers.countdown.map(|countdown| countdown.at);
        [countdown, self.timers.remember_at, self.plan.next()].into_iter().flatten().min()
    }

    /// Countdown, schedules, and what is to be remembered.
    pub(in crate::proto::thing) fn handle_day(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        now: Micros,
        ports: &mut Ports<'_>,
    ) {
        if let Some(Countdown { state, .. }) = self.timers.countdown.filter(|countdown| now >= countdown.at) {
            match self.switch(core, state, SwitchedBy::Timer, None, now, ports) {
                Ok(news) => self.tell(core, registrar, news, None, now, ports),
                Err(OutletFault) => {
                    self.timers.countdown = Some(Countdown { state, at: now.after(SWITCH_AGAIN) });
                }
            }
        }
        if let Some(state) = self.due(core, now) {
            // A fault stands on the display; the day of the schedule is over all the same.
            let news = self.switch(core, state, SwitchedBy::Schedule, None, now, ports).unwrap_or_default();
            self.tell(core, registrar, news, None, now, ports);
        }
        if self.timers.remember_at.take_if(|at| now >= *at).is_some()
            && ports.vault.remember(core.outlet.state).is_err()
        {
            self.timers.remember_at = Some(now.after(REMEMBER_AGAIN));
        }
    }

    /// Everybody, and the display, learn the state if it is news.
    fn tell(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        news: News,
        answered: Option<Asker>,
        now: Micros,
        ports: &mut Ports<'_>,
    ) {
        if news == News::Yes {
            self.tell_everybody(core, registrar, answered, now, ports.rng);
            self.show(core);
        }
    }
}

/// The words of the audit log.
const fn switched(state: OutletState, by: SwitchedBy) -> &'static str {
    match (state, by) {
        (OutletState::On, SwitchedBy::User) => "on",
        (OutletState::Off, SwitchedBy::User) => "off",
        (OutletState::On, SwitchedBy::Button) => "on by button",
        (OutletState::Off, SwitchedBy::Button) => "off by button",
        (OutletState::On, SwitchedBy::Timer) => "on by timer",
        (OutletState::Off, SwitchedBy::Timer) => "off by timer",
        (OutletState::On, SwitchedBy::Schedule) => "on by schedule",
        (OutletState::Off, SwitchedBy::Schedule) => "off by schedule",
        (OutletState::On, SwitchedBy::Boot) => "on at start",
        (OutletState::Off, SwitchedBy::Boot) => "off at start",
    }
}
