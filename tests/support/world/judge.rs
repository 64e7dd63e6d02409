//! Who remembers every wish and every click, and says when something happened that must not.

use std::collections::BTreeMap;

use sect::proto::envelope::request_id;
use sect::proto::id::{Cid, RequestId};
use sect::proto::message::{OutletState, ReturnCode};
use sect::proto::operation::Operation;
use sect::proto::record::Household;
use sect::proto::user::Role;

use super::weather::{SECOND, Time};

/// How old a command may be when it switches the load: 30 s, and what two clocks drift apart in an hour.
const OLDEST: Time = 30 * SECOND + SECOND / 2;

/// A user's wish, by its number.
pub type WishId = usize;

/// What somebody wanted, and what became of it.
#[derive(Debug)]
pub struct Wish {
    /// Whose controller it was.
    pub person: usize,
    /// What was wanted.
    pub operation: Operation,
    /// How often the load was switched for it.
    pub clicks: u32,
    /// What its controller heard, if it lived to hear it.
    pub end: Option<End>,
}

/// How a wish ended for its controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Answered(ReturnCode),
    Unknown,
    NotSent,
    Replaced,
}

/// A message that carries a wish.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    pub wish: WishId,
    pub cid: Cid,
    pub sealed_at: Time,
}

/// All that was wanted.
#[derive(Default)]
pub struct Judge {
    pub wishes: Vec<Wish>,
    carried: BTreeMap<RequestId, Carried>,
}

impl Judge {
    /// Somebody wants something.
    pub fn wished(&mut self, person: usize, operation: Operation) -> WishId {
        self.wishes.push(Wish { person, operation, clicks: 0, end: None });
        self.wishes.len() - 1
    }

    /// A controller sends a message for a wish: the first time, it has just been sealed.
    pub fn sent(&mut self, payload: &[u8], wish: WishId, cid: Cid, now: Time) {
        self.carried.entry(request_id(payload)).or_insert(Carried { wish, cid, sealed_at: now });
    }

    /// What a message carries, if anybody ever sealed it for a wish.
    pub fn carried(&self, payload: &[u8]) -> Option<Carried> {
        self.carried.get(&request_id(payload)).copied()
    }

    /// The load was switched while the thing handled this message.
    ///
    /// # Errors
    ///
    /// What must not be.
    pub fn clicked(
        &mut self,
        carried: Carried,
        clicks: &[OutletState],
        household: Option<&Household>,
        now: Time,
    ) -> Result<(), String> {
        let wish = &mut self.wishes[carried.wish];
        let number = carried.wish;
        for &state in clicks {
            wish.clicks += 1;
            match &wish.operation {
                Operation::OutletSet(wanted) if wanted.state() == state => {}
                _ => return Err(format!("wish {number} {:?} set the load to {state:?}", wish.operation)),
            }
        }
        if clicks.is_empty() {
            return Ok(());
        }
        if wish.clicks > 1 {
            return Err(format!("wish {number} switched the load {} times", wish.clicks));
        }
        if now - carried.sealed_at > OLDEST {
            return Err(format!("wish {number} switched the load {} us after it was sealed", now - carried.sealed_at));
        }
        let record = household.and_then(|household| household.controllers.iter().find(|one| one.cid == carried.cid));
        match record {
            Some(record) if record.role >= Role::Operator => {}
            Some(record) => return Err(format!("wish {number} of a {:?} switched the load", record.role)),
            None => return Err(format!("wish {number} of somebody who is not in the household switched the load")),
        }
        self.settled(carried.wish)
    }

    /// A wish ended for its controller.
    ///
    /// # Errors
    ///
    /// What must not be.
    pub fn ended(&mut self, wish: WishId, end: End) -> Result<(), String> {
        if let Some(earlier) = self.wishes[wish].end.replace(end) {
            return Err(format!("wish {wish} ended twice: {earlier:?}, then {end:?}"));
        }
        self.settled(wish)
    }

    /// What its controller heard and what the load had must fit, whichever came first.
    fn settled(&self, number: WishId) -> Result<(), String> {
        let wish = &self.wishes[number];
        let (Operation::OutletSet(_), Some(end)) = (&wish.operation, wish.end) else { return Ok(()) };
        let fits = match end {
            End::Answered(ReturnCode::Ok) => wish.clicks == 1,
            // The outlet did not confirm: the load may have either state.
            End::Answered(ReturnCode::Storage) => wish.clicks <= 1,
            End::Answered(_) | End::NotSent | End::Replaced => wish.clicks == 0,
            End::Unknown => wish.clicks <= 1,
        };
        if fits {
            Ok(())
        } else {
            Err(format!("wish {number} ended as {end:?}, and the load was switched {} times for it", wish.clicks))
        }
    }
}
