//! The end of a user whose time is limited: it counts the thing's uptime and needs no clock (protocol
//! section 9).
//!
//! Time is paid for beforehand: the store holds what is left *after* the slice that runs. So cutting the
//! power costs a user what was left of a slice, and never gives him any.

use std::time::Duration;

use super::HouseholdState;
use crate::proto::id::Cid;
use crate::proto::message::{EVENT_LEFT, Left};
use crate::proto::port::Ports;
use crate::proto::record::ControllerRecord;
use crate::proto::thing::Core;
use crate::proto::thing::registrar::Registrar;
use crate::proto::time::Micros;

/// How soon a store that failed is tried again; until then who could not pay is out.
const RETRY: Duration = Duration::from_secs(60);

/// How long a user may stay, as far as it is paid for.
#[derive(Clone, Copy)]
pub(super) enum Stay {
    /// For ever, or nothing is paid for yet.
    Open,
    /// Until then.
    Until(Micros),
    /// His time is over, and the store did not take it. It is tried again then.
    Over(Micros),
}

/// The next slice, in seconds: a tenth of what is left, at least a minute, at most an hour.
const fn slice(left_s: u32) -> u32 {
    let tenth = left_s / 10;
    let slice = if tenth < 60 {
        60
    } else if tenth > 3600 {
        3600
    } else {
        tenth
    };
    if slice < left_s { slice } else { left_s }
}

/// Takes the next slice from what is left.
pub(super) fn pay(record: &mut ControllerRecord, now: Micros) -> Stay {
    match &mut record.left_s {
        None => Stay::Open,
        Some(left_s) => {
            let slice = slice(*left_s);
            *left_s -= slice;
            Stay::Until(now.after(Duration::from_secs(slice.into())))
        }
    }
}

impl Stay {
    /// Whether messages of this user count.
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Over(_))
    }

    /// Seconds that are left with `stored` beyond what is paid for, the begun one included.
    pub(super) fn left_s(self, stored: u32, now: Micros) -> u32 {
        let paid = match self {
            Self::Until(until) => until.since(now).as_micros().div_ceil(1_000_000),
            Self::Open | Self::Over(_) => 0,
        };
        stored.saturating_add(u32::try_from(paid).unwrap_or(u32::MAX))
    }
}

impl HouseholdState {
    /// When the next slice is due; nothing where nobody's time is limited.
    pub(super) fn poll_expiry(&self) -> Option<Micros> {
        let due = self.controllers.iter().filter_map(|one| match one.stay {
            Stay::Open => None,
            Stay::Until(at) | Stay::Over(at) => Some(at),
        });
        due.min()
    }

    /// Pays for whoever is due, and removes who has nothing left, in one transaction.
    pub(in crate::proto::thing) fn handle_expiry(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        now: Micros,
        ports: &mut Ports<'_>,
    ) {
        let pairs = self.controllers.iter().zip(&self.household.controllers);
        let due = pairs.filter_map(|(one, record)| match one.stay {
            Stay::Open => record.left_s.is_some().then_some(one.cid),
            Stay::Until(at) | Stay::Over(at) => (now >= at).then_some(one.cid),
        });
        let due: Vec<Cid> = due.collect();
        if due.is_empty() {
            return;
        }
        let (mut gone, mut paid) = (Vec::new(), Vec::new());
        let staged = self.persist(registrar, ports, |household| {
            household.controllers.retain_mut(|record| {
                if !due.contains(&record.cid) {
                    return true;
                }
                if record.left_s == Some(0) {
                    gone.push((record.cid, record.name.clone()));
                    return false;
                }
                paid.push((record.cid, pay(record, now)));
                true
            });
        });
        match staged {
            Ok(staged) => {
                // First, for whom the server admits depends on it.
                for (cid, stay) in paid {
                    self.set_stay(&cid, stay);
                }
                self.adopt(core, registrar, staged, now);
                for (cid, name) in gone {
                    core.note(None, format!("the time of {name} was over"), now, ports.vault);
                    self.tell_owners(core, registrar, (EVENT_LEFT, &Left { cid }), None, now, ports.rng);
                }
            }
            // What cannot be written must not be given.
            Err(_) => {
                for cid in due {
                    self.set_stay(&cid, Stay::Over(now.after(RETRY)));
                }
                self.admit(core);
            }
        }
    }

    pub(super) fn set_stay(&mut self, cid: &Cid, stay: Stay) {
        if let Some(one) = self.controllers.iter_mut().find(|one| one.cid == *cid) {
            one.stay = stay;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_a_tenth_of_what_is_left_between_a_minute_and_an_hour() {
        for (left_s, expected) in
            [(0, 0), (1, 1), (60, 60), (61, 60), (600, 60), (6000, 600), (36_000, 3600), (31_536_000, 3600)]
        {
            assert_eq!(slice(left_s), expected, "{left_s}");
        }
    }

    #[test]
    fn what_is_paid_for_is_never_more_than_what_was_left() {
        let mut left_s = 172_800;
        let mut sum = 0;
        while left_s > 0 {
            sum += slice(left_s);
            left_s -= slice(left_s);
        }
        assert_eq!(sum, 172_800);
    }
}
