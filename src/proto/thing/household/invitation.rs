//! Invitations and their runs: how one more controller joins a household (SecT STEP 16; protocol section 9).
//!
//! An invitation lives in memory alone, for 600 s. One success or three failed runs end it. A used one is
//! remembered until its 600 s are over, so that its maker hears of a second holder of the QR code.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_core::CryptoRng;

use super::HouseholdState;
use super::expiry;
use crate::proto::action::{Action, Admission, NewSessions, SessionId};
use crate::proto::id::{Cid, SpkiHash};
use crate::proto::invitation::Invitation;
use crate::proto::keys::PairingCode;
use crate::proto::message::{EVENT_INVITE_REUSE, EVENT_JOINED, InviteReuse, Joined};
use crate::proto::pairing::thing::{Bound, Context, Ending, Guest, Outcome, Purpose, Run};
use crate::proto::port::Ports;
use crate::proto::record::{ControllerRecord, Household};
use crate::proto::thing::registrar::Registrar;
use crate::proto::thing::verdict::{Dropped, Verdict};
use crate::proto::thing::window::{HANDOVER, MAX_PAIR_SESSIONS};
use crate::proto::thing::{Core, Incoming};
use crate::proto::time::Micros;
use crate::proto::topic::{PAIR_C2T, PAIR_T2C};
use crate::proto::user::Role;

/// How long an invitation is good for (protocol section 2).
pub(super) const LIFE: Duration = Duration::from_secs(600);
/// Invitations at a time that may still be used.
pub(super) const MAX_OPEN: usize = 4;
/// Failed or aborted runs that end an invitation.
const MAX_BAD_RUNS: u32 = 3;
/// Used ones that are remembered.
const MAX_USED: usize = 16;
/// How often one invitation's second use is told: who hammers at it must not be heard each time.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// All that are open or remembered.
#[derive(Default)]
pub(super) struct Invitations(Vec<Invited>);

struct Invited {
    invitation: Invitation,
    psk_identity: String,
    maker: Cid,
    guest: Guest,
    bad_runs: u32,
    runs: BTreeMap<SessionId, Run>,
    /// Its 600 s are over; only what has begun goes on.
    expired: bool,
    used: Option<Used>,
}

struct Used {
    /// Who came by it.
    by: Cid,
    /// The session that waits for M9 to arrive, and for how long.
    handover: Option<(SessionId, Micros)>,
    /// When the owners were last told of a second use.
    told: Option<Micros>,
}

impl Invitations {
    /// Makes one.
    pub(super) fn add(&mut self, ca: &SpkiHash, maker: Cid, guest: Guest, rng: &mut dyn CryptoRng) -> &Invitation {
        let invitation = Invitation::random(ca, rng);
        self.0.push(Invited {
            psk_identity: invitation.psk_identity(),
            invitation,
            maker,
            guest,
            bad_runs: 0,
            runs: BTreeMap::new(),
            expired: false,
            used: None,
        });
        &self.0[self.0.len() - 1].invitation
    }

    /// How many may still be used: each has a free place in the household.
    pub(super) fn open(&self) -> usize {
        self.0.iter().filter(|invited| invited.used.is_none()).count()
    }

    pub(super) fn admissions(&self) -> impl Iterator<Item = Admission> + '_ {
        self.0.iter().map(|invited| Admission {
            psk_identity: invited.psk_identity.clone(),
            psk: invited.invitation.psk(),
            login: None,
            publish: PAIR_C2T.to_owned(),
            subscribe: PAIR_T2C.to_owned(),
            max_sessions: MAX_PAIR_SESSIONS,
            new_sessions: match (invited.expired, &invited.used) {
                (true, _) => NewSessions::Closed,
                (false, Some(_)) => NewSessions::Watched,
                (false, None) => NewSessions::Open,
            },
        })
    }

    /// Forgets those whose maker may not invite any more; says which sessions end with them.
    pub(super) fn retain_makers(&mut self, controllers: &[ControllerRecord]) -> Vec<SessionId> {
        let may_invite = |maker: &Cid| controllers.iter().any(|one| one.cid == *maker && one.role == Role::Owner);
        let gone = self.0.extract_if(.., |invited| invited.used.is_none() && !may_invite(&invited.maker));
        gone.flat_map(|invited| invited.runs.into_keys()).collect()
    }

    pub(super) fn handle_session_opened(&mut self, session: SessionId, psk_identity: &str) {
        let invited = self.0.iter_mut().find(|one| one.psk_identity == psk_identity && one.used.is_none());
        if let Some(invited) = invited {
            let code = PairingCode::of_invitation(&invited.invitation.secret);
            invited.runs.insert(session, Run::new(code, Purpose::Invitation(invited.guest.clone())));
        }
    }

    pub(super) fn has_run(&self, session: SessionId) -> bool {
        self.place_of(session).is_some()
    }

    fn place_of(&self, session: SessionId) -> Option<usize> {
        self.0.iter().position(|invited| invited.runs.contains_key(&session))
    }

    /// A run is over. One that `failed` counts; says which sessions end if it was one too many, and `None`
    /// where the invitations stay as they are.
    fn end_run(&mut self, session: SessionId, failed: bool) -> Option<Vec<SessionId>> {
        let place = self.place_of(session)?;
        let invited = &mut self.0[place];
        invited.runs.remove(&session);
        match &mut invited.used {
            Some(used) if used.handover.is_some_and(|(by, _)| by == session) => used.handover = None,
            Some(_) => {}
            None => invited.bad_runs += u32::from(failed),
        }
        let over = invited.used.is_none() && invited.bad_runs >= MAX_BAD_RUNS;
        if over || invited.expired && invited.runs.is_empty() {
            return Some(self.0.remove(place).runs.into_keys().collect());
        }
        None
    }

    /// A household that comes and goes must not fill the memory.
    fn forget_oldest_used(&mut self) {
        let is_used = |invited: &Invited| invited.used.is_some();
        if self.0.iter().filter(|&one| is_used(one)).count() > MAX_USED
            && let Some(oldest) = self.0.iter().position(is_used)
        {
            self.0.remove(oldest);
        }
    }

    fn poll_timeout(&self) -> Option<Micros> {
        let of = |invited: &Invited| {
            let handover = invited.used.as_ref().and_then(|used| used.handover).map(|(_, until)| until);
            let end = (!invited.expired).then_some(invited.guest.until);
            invited.runs.values().filter_map(Run::deadline).chain(handover).chain(end).min()
        };
        self.0.iter().filter_map(of).min()
    }
}

impl HouseholdState {
    /// A message of an invited controller's run.
    pub(in crate::proto::thing) fn handle_run(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        Incoming { from: session, topic, payload }: Incoming<'_, SessionId>,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Verdict {
        let clouds = registrar.clouds();
        let context = Context { identity: &core.identity, clouds: &clouds };
        let place = self.invitations.place_of(session).filter(|_| topic == PAIR_C2T);
        let Some((place, invited)) = place.map(|place| (place, &mut self.invitations.0[place])) else {
            return Verdict::Dropped(Dropped::ForeignTopic);
        };
        let Some(run) = invited.runs.get_mut(&session) else { return Verdict::Dropped(Dropped::ForeignTopic) };
        match run.handle_message(payload, now, &context, ports.rng) {
            Outcome::Reply(replies) => {
                let sent = replies.into_iter().map(|payload| Action::SendPairing { session, payload });
                core.actions.extend(sent);
                if invited.used.is_some() { Verdict::Repeated } else { Verdict::Paired }
            }
            Outcome::Commit(bound) => match *bound {
                Bound::Guest(controller) => {
                    self.join_household(core, registrar, (place, session), controller, now, ports)
                }
                // No run of an invitation has another purpose.
                Bound::Owner { .. } | Bound::Recovered { .. } => {
                    self.end_run(core, session, Dropped::Run(Ending::Aborted))
                }
            },
            Outcome::Over(ending) => self.end_run(core, session, Dropped::Run(ending)),
        }
    }

    /// M8's transaction: invitation, maker and a free place are looked at once more, and the invitation is
    /// used up.
    fn join_household(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        (place, session): (usize, SessionId),
        mut controller: ControllerRecord,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Verdict {
        let invited = &self.invitations.0[place];
        let maker = self.household.controllers.iter().find(|one| one.cid == invited.maker);
        let is_welcome = invited.used.is_none()
            && maker.is_some_and(|maker| maker.role == Role::Owner && !self.is_taken(&controller.name, &maker.name))
            && self.household.controllers.len() < Household::MAX_CONTROLLERS;
        if !is_welcome {
            return self.end_run(core, session, Dropped::Run(Ending::Aborted));
        }
        let (cid, name) = (controller.cid, controller.name.clone());
        let stay = expiry::pay(&mut controller, now);
        let persisted = self.persist(registrar, ports, |household| household.controllers.push(controller));
        let Ok(staged) = persisted else { return self.end_run(core, session, Dropped::Store) };

        let invited = &mut self.invitations.0[place];
        invited.used = Some(Used { by: cid, handover: Some((session, now.after(HANDOVER))), told: None });
        for (&other, _) in invited.runs.iter().filter(|&(&other, _)| other != session) {
            core.actions.push_back(Action::EndSession(other));
        }
        invited.runs.retain(|&run, _| run == session);
        let done = invited.runs.get_mut(&session).and_then(|run| run.committed(ports.rng));
        core.actions.extend(done.map(|payload| Action::SendPairing { session, payload }));
        self.invitations.forget_oldest_used();
        self.adopt(core, registrar, staged, now);
        self.set_stay(&cid, stay);
        core.note(Some((cid, name.clone())), "joined", now, ports.vault);
        self.tell_owners(core, registrar, (EVENT_JOINED, &Joined { cid, name }), None, now, ports.rng);
        Verdict::Paired
    }

    fn end_run(&mut self, core: &mut Core, session: SessionId, why: Dropped) -> Verdict {
        core.actions.push_back(Action::EndSession(session));
        self.drop_run(core, session, true);
        Verdict::Dropped(why)
    }

    fn drop_run(&mut self, core: &mut Core, session: SessionId, failed: bool) {
        if let Some(others) = self.invitations.end_run(session, failed) {
            core.actions.extend(others.into_iter().map(Action::EndSession));
            self.admit(core);
        }
    }

    /// The session of a run ended; who goes in the middle of one has failed.
    pub(super) fn handle_run_closed(&mut self, core: &mut Core, session: SessionId) {
        let Some(place) = self.invitations.place_of(session) else { return };
        let failed = self.invitations.0[place].runs.get(&session).is_some_and(Run::is_under_way);
        self.drop_run(core, session, failed);
    }

    /// M9 has arrived: the guest goes on with keys of his own.
    pub(in crate::proto::thing) fn handle_acknowledged(&mut self, core: &mut Core, session: SessionId) {
        let is_handover = |invited: &Invited| {
            invited.used.as_ref().and_then(|used| used.handover).is_some_and(|(waiting, _)| waiting == session)
        };
        if self.invitations.0.iter().any(is_handover) {
            core.actions.push_back(Action::EndSession(session));
            self.drop_run(core, session, false);
        }
    }

    /// Somebody holds the key of a used invitation: the QR code has been seen by two.
    pub(in crate::proto::thing) fn handle_refused(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        psk_identity: &str,
        now: Micros,
        ports: &mut Ports<'_>,
    ) {
        let invited = self.invitations.0.iter_mut().find(|invited| invited.psk_identity == psk_identity);
        let Some(Invited { guest, used: Some(used), .. }) = invited else { return };
        if let Some(one) = self.controllers.iter_mut().find(|one| one.cid == used.by) {
            one.invitation_reused = true;
        }
        if used.told.is_some_and(|told| now.since(told) < TELL_AGAIN) {
            return;
        }
        used.told = Some(now);
        let says = InviteReuse { name: guest.name.clone() };
        core.note(None, format!("the invitation for {} was used again", says.name), now, ports.vault);
        self.tell_owners(core, registrar, (EVENT_INVITE_REUSE, &says), None, now, ports.rng);
    }

    pub(super) fn poll_invitations(&self) -> Option<Micros> {
        self.invitations.poll_timeout()
    }

    /// Ends what has had its time: invitations, runs, and the wait for M9.
    pub(super) fn handle_invitation_timeout(&mut self, core: &mut Core, now: Micros) {
        let (mut over, mut idle, mut changed) = (Vec::new(), Vec::new(), false);
        for invited in &mut self.invitations.0 {
            let handover = invited.used.as_ref().and_then(|used| used.handover);
            let has_ended = now >= invited.guest.until && !invited.expired;
            (invited.expired, changed) = (invited.expired || has_ended, changed || has_ended);
            for (&session, run) in &invited.runs {
                if run.deadline().is_some_and(|at| now >= at) {
                    over.push(session);
                } else if handover.is_some_and(|(waiting, until)| waiting == session && now >= until)
                    || invited.expired && handover.is_none() && !run.is_under_way()
                {
                    idle.push(session);
                }
            }
        }
        for session in over {
            let _ = self.end_run(core, session, Dropped::Run(Ending::Aborted));
        }
        for session in idle {
            core.actions.push_back(Action::EndSession(session));
            self.drop_run(core, session, false);
        }
        self.invitations.0.retain(|invited| !(invited.expired && invited.runs.is_empty()));
        if changed {
            self.admit(core);
        }
    }
}
