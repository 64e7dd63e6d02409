//! The audit log: who did what, in a few words, and reading it page by page.

use std::borrow::Cow;
use std::time::Duration;

use super::act::{Done, authorize};
use super::page::Page;
use super::writes::is_written;
use super::{Asker, HouseholdState};
use crate::proto::freshness::Fresh;
use crate::proto::id::Cid;
use crate::proto::message::ReturnCode;
use crate::proto::operation::Operation;
use crate::proto::operation::argument::HistoryList;
use crate::proto::operation::result::{History, HistoryItem};
use crate::proto::port::{Ports, Vault};
use crate::proto::record::{Logged, Note};
use crate::proto::thing::Core;
use crate::proto::thing::registrar::Registrar;
use crate::proto::time::Micros;
use crate::proto::user::Name;

/// Lines that are read for one page: more than the shortest ones fill it with.
const LINES: usize = 72;
/// What one controller may not do is written down this often at most.
const REFUSALS_EVERY: Duration = Duration::from_secs(60);

impl Core {
    /// Writes a line into the audit log; without a user for what the thing did by itself.
    pub(in crate::proto::thing) fn note(
        &self,
        by: Option<(Cid, Name)>,
        what: impl Into<Cow<'static, str>>,
        now: Micros,
        vault: &mut dyn Vault,
    ) {
        let unix_s = self.wall.map(|wall| wall.unix_ms(now) / 1000);
        vault.note(Note { unix_s, up_s: now.since(Micros::ZERO).as_secs(), by, what: what.into() });
    }
}

impl HouseholdState {
    /// Does what a command asks for, if its sender may, and writes into the audit log what became of it.
    pub(super) fn act_and_note(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        asker: Asker,
        (fresh, operation): (Fresh, Operation),
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Result<Done, ReturnCode> {
        let (op, words) = (operation.op(), self.words(&operation));
        // Afterwards it may not be in the household any more.
        let record = &self.household.controllers[asker.index];
        let (role, by) = (record.role, words.is_some().then(|| (record.cid, record.name.clone())));
        let written = is_written(&operation);
        let outcome = authorize(fresh, operation, role).and_then(|authorized| {
            if written && !self.may_write(asker.index, now) {
                return Err(ReturnCode::Busy);
            }
            self.act(core, registrar, asker, authorized, now, ports)
        });
        match (&outcome, words) {
            (Ok(_), Some(words)) => core.note(by, words, now, ports.vault),
            (Err(ReturnCode::Forbidden), _) => self.note_refusal(core, asker.index, op, now, ports),
            _ => {}
        }
        outcome
    }

    /// What one of the household did.
    pub(super) fn note_of(
        &self,
        core: &Core,
        user: usize,
        what: impl Into<Cow<'static, str>>,
        now: Micros,
        ports: &mut Ports<'_>,
    ) {
        let record = &self.household.controllers[user];
        core.note(Some((record.cid, record.name.clone())), what, now, ports.vault);
    }

    /// Somebody asked for what his role does not allow.
    pub(super) fn note_refusal(&mut self, core: &Core, user: usize, op: &str, now: Micros, ports: &mut Ports<'_>) {
        let noted = &mut self.controllers[user].refusal_noted;
        if noted.is_none_or(|noted| now.since(noted) >= REFUSALS_EVERY) {
            *noted = Some(now);
            self.note_of(core, user, format!("refused: {op}"), now, ports);
        }
    }

    /// The words for an operation that was done; none for what only reads, what is noted where it happens, and
    /// what controllers do by themselves.
    pub(super) fn words(&self, operation: &Operation) -> Option<String> {
        let name = |cid: &Cid| {
            let record = self.household.controllers.iter().find(|record| record.cid == *cid);
            record.map_or_else(|| cid.to_string(), |record| record.name.to_string())
        };
        Some(match operation {
            Operation::TimerSet(a) => format!("countdown: {} in {} s", on_or_off(a.on), a.in_s.get()),
            Operation::TimerClear => "countdown cleared".to_owned(),
            Operation::ScheduleSet(a) => format!("schedule added: {a}"),
            Operation::ScheduleClear(a) => format!("schedule {} removed", a.id),
            Operation::BootSet(a) => format!("power-on state: {}", a.state.as_str()),
            Operation::NameSet(a) => format!("named it {}", a.name),
            Operation::UserAdd(a) => format!("invited {} as {}", a.name, a.role),
            Operation::UserRole(a) => format!("made {} {}", name(&a.cid), a.role),
            Operation::UserName(a) => format!("renamed {} to {}", name(&a.cid), a.name),
            Operation::UserDel(a) => format!("removed {}", name(&a.cid)),
            Operation::WifiSet(_) => "asked for another Wi-Fi network".to_owned(),
            Operation::RecoverySet(_) => "new recovery code".to_owned(),
            Operation::TimeSet(a) => format!("time zone: {}", a.zone.as_ref()?),
            Operation::OutletSet(_)
            | Operation::ScheduleList(_)
            | Operation::HistoryList(_)
            | Operation::UserList(_)
            | Operation::WifiScan
            | Operation::TokenRenew
            | Operation::TokenUse(_)
            | Operation::Unpair(_) => return None,
        })
    }

    /// `history.list`.
    pub(super) fn list_history(
        &self,
        HistoryList { from, cid }: &HistoryList,
        ports: &mut Ports<'_>,
    ) -> Result<Done, ReturnCode> {
        let lines = ports.vault.read(*from, cid.as_ref(), LINES).map_err(|_| ReturnCode::Storage)?;
        let places: Vec<u64> = lines.iter().map(|line| line.place).collect();
        let (items, left) = Page::fill(lines.into_iter().map(item));
        let next = left.and(places.get(items.len()).copied());
        // Without one that did not fit, a full page of lines may have been read all the same.
        let next = next.or_else(|| (places.len() == LINES).then(|| places[LINES - 1].saturating_sub(1)));
        Ok(Done::with(&History { items, next: next.filter(|next| *next > 0) }))
    }
}

fn item(Logged { note, .. }: Logged) -> HistoryItem {
    HistoryItem {
        unix: note.unix_s,
        up: note.unix_s.is_none().then_some(note.up_s),
        who: note.by.map(|(_, name)| name),
        what: note.what.into_owned(),
    }
}

const fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
