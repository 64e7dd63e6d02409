//! One time that the Thing-AP is open: its passcode, its runs, its end (SecT STEP 1, 2; protocol sections 7.1
//! and 7.6).
//!
//! What a window is for, who besides the passcode's reader gets in, and what follows it, is its owner's
//! affair: [`super::access_point`] for a thing that nobody owns, [`super::household`] for one that
//! somebody does.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_core::CryptoRng;

use super::registrar::Registrar;
use super::verdict::{Dropped, Verdict};
use super::{Core, Incoming};
use crate::proto::action::{Action, Admission, NewSessions, Screen, SessionId};
use crate::proto::keys::{self, PairingCode};
use crate::proto::pairing::PAIR_IDENTITY;
use crate::proto::pairing::thing::{self as run, Bound, Context, Ending, Outcome, Run};
use crate::proto::passcode::{self, Passcode};
use crate::proto::signature::Spki;
use crate::proto::time::Micros;
use crate::proto::topic::{PAIR_C2T, PAIR_T2C};

/// How long a window is open (protocol section 2).
pub(super) const WINDOW: Duration = Duration::from_secs(600);
/// Failed or aborted runs that end a window early.
pub(super) const MAX_BAD_RUNS: u32 = 5;
/// Sessions of the pairing identity at a time.
pub(super) const MAX_PAIR_SESSIONS: usize = 2;
/// How long the access point waits for M9 to arrive.
pub(super) const HANDOVER: Duration = Duration::from_secs(5);
/// How often the time left is drawn anew.
const REDRAW: Duration = Duration::from_secs(10);

/// What a window is open for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Who reads the passcode becomes the owner.
    Claim,
    /// The owners correct the home network. Beyond the radio the passcode opens a run for who holds the
    /// recovery code of this public half, and without one nothing.
    Maintenance(Option<Spki>),
}

/// Whether a window stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Life {
    /// It does.
    GoesOn,
    /// It has seen too many bad runs, or its time is up.
    IsOver,
}

/// What came of a message.
pub(super) enum Taken {
    /// It was judged; the window may be over.
    Judged(Verdict, Life),
    /// Persist this, then call [`Window::committed`], or [`Window::end_run`] if that fails.
    Commit(Box<Bound>),
}

/// An open window.
pub(super) struct Window {
    purpose: Purpose,
    ssid: String,
    passcode: Passcode,
    closes: Micros,
    redraw: Micros,
    /// Whether the access point is on the air: nobody reads a passcode that opens nothing yet.
    is_up: bool,
    bad_runs: u32,
    runs: BTreeMap<SessionId, Run>,
    /// The session whose run was committed, and until when M9 may take.
    handover: Option<(SessionId, Micros)>,
}

impl Window {
    /// A window with a name and a passcode of its own; [`Self::go_on_air`] opens it.
    pub(super) fn new(purpose: Purpose, now: Micros, rng: &mut dyn CryptoRng) -> Self {
        Self {
            purpose,
            ssid: passcode::access_point_ssid(rng),
            passcode: Passcode::random(rng),
            closes: now.after(WINDOW),
            redraw: now,
            is_up: false,
            bad_runs: 0,
            runs: BTreeMap::new(),
            handover: None,
        }
    }

    /// Who reads the passcode, where that opens more than the radio.
    pub(super) fn admission(&self) -> Option<Admission> {
        self.runs_for().map(|_| Admission {
            psk_identity: PAIR_IDENTITY.to_owned(),
            psk: keys::pairing_psk(&self.passcode),
            login: None,
            publish: PAIR_C2T.to_owned(),
            subscribe: PAIR_T2C.to_owned(),
            max_sessions: MAX_PAIR_SESSIONS,
            new_sessions: NewSessions::Open,
        })
    }

    /// What the runs of this window lead to, where it has any.
    fn runs_for(&self) -> Option<run::Purpose> {
        match &self.purpose {
            Purpose::Claim => Some(run::Purpose::Claim),
            Purpose::Maintenance(recovery) => recovery.map(run::Purpose::Recovery),
        }
    }

    /// Opens the access point; whom the server admits was said before.
    pub(super) fn go_on_air(&mut self, core: &mut Core, now: Micros) {
        let (ssid, passphrase) = (self.ssid.clone(), self.passcode.clone());
        core.actions.push_back(Action::OpenAccessPoint { ssid, passphrase });
        self.show(core, now);
    }

    /// Ends the sessions of who came in with its passcode: they go with it.
    pub(super) fn close(self, core: &mut Core) {
        core.actions.extend(self.runs.into_keys().map(Action::EndSession));
    }

    pub(super) fn handle_session_opened(&mut self, session: SessionId) {
        if let Some(purpose) = self.runs_for() {
            self.runs.insert(session, Run::new(PairingCode::of_passcode(&self.passcode), purpose));
        }
    }

    pub(super) fn handle_session_closed(&mut self, core: &mut Core, session: SessionId, now: Micros) -> Life {
        match self.runs.remove(&session) {
            Some(run) if run.is_under_way() => self.count_bad_run(core, now),
            _ => Life::GoesOn,
        }
    }

    /// A message of a run.
    pub(super) fn handle_publish(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        Incoming { from: session, topic, payload }: Incoming<'_, SessionId>,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) -> Taken {
        let Some(run) = self.runs.get_mut(&session).filter(|_| topic == PAIR_C2T) else {
            return Taken::Judged(Verdict::Dropped(Dropped::ForeignTopic), Life::GoesOn);
        };
        let clouds = registrar.clouds();
        let context = Context { identity: &core.identity, clouds: &clouds };
        match run.handle_message(payload, now, &context, rng) {
            Outcome::Reply(replies) => {
                send(core, session, replies);
                self.show(core, now);
                Taken::Judged(Verdict::Paired, Life::GoesOn)
            }
            Outcome::Commit(bound) => Taken::Commit(bound),
            Outcome::Over(ending) => {
                let life = self.end_run(core, session, now);
                Taken::Judged(Verdict::Dropped(Dropped::Run(ending)), life)
            }
        }
    }

    /// What a run has agreed is durable: M9 goes out, and nobody else goes on.
    pub(super) fn committed(&mut self, core: &mut Core, session: SessionId, now: Micros, rng: &mut dyn CryptoRng) {
        let Some(run) = self.runs.get_mut(&session) else { return };
        send(core, session, run.committed(rng));
        for (&other, _) in self.runs.iter().filter(|&(&other, _)| other != session) {
            core.actions.push_back(Action::EndSession(other));
        }
        self.runs.retain(|&run, _| run == session);
        self.handover = Some((session, now.after(HANDOVER)));
    }

    /// Ends a run that was not committed.
    pub(super) fn end_run(&mut self, core: &mut Core, session: SessionId, now: Micros) -> Life {
        if self.runs.remove(&session).is_none() {
            return Life::GoesOn;
        }
        core.actions.push_back(Action::EndSession(session));
        self.count_bad_run(core, now)
    }

    fn count_bad_run(&mut self, core: &mut Core, now: Micros) -> Life {
        self.bad_runs += 1;
        if self.bad_runs >= MAX_BAD_RUNS {
            return Life::IsOver;
        }
        self.show(core, now);
        Life::GoesOn
    }

    /// The access point is on the air.
    pub(super) fn handle_up(&mut self, core: &mut Core, now: Micros) {
        self.is_up = true;
        self.show(core, now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Micros> {
        match self.handover {
            Some((_, until)) => Some(until),
            None => {
                let runs = self.runs.values().filter_map(Run::deadline);
                runs.chain([self.closes, self.redraw]).min()
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, core: &mut Core, now: Micros) -> Life {
        if now >= self.closes {
            return Life::IsOver;
        }
        let over = |(&session, run): (&SessionId, &Run)| run.deadline().is_some_and(|at| now >= at).then_some(session);
        let over: Vec<_> = self.runs.iter().filter_map(over).collect();
        if now >= self.redraw {
            self.show(core, now);
        }
        for session in over {
            if self.end_run(core, session, now) == Life::IsOver {
                return Life::IsOver;
            }
        }
        Life::GoesOn
    }

    /// Whether this session came in with the passcode.
    pub(super) fn has_session(&self, session: SessionId) -> bool {
        self.runs.contains_key(&session)
    }

    /// The last message of the run that was committed may come again; nothing else.
    pub(super) fn handle_repeat(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        Incoming { from: session, topic, payload }: Incoming<'_, SessionId>,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) -> Verdict {
        let Some(run) = self.runs.get_mut(&session).filter(|_| topic == PAIR_C2T) else {
            return Verdict::Dropped(Dropped::ForeignTopic);
        };
        let clouds = registrar.clouds();
        let context = Context { identity: &core.identity, clouds: &clouds };
        match run.handle_message(payload, now, &context, rng) {
            Outcome::Reply(replies) => {
                send(core, session, replies);
                Verdict::Repeated
            }
            Outcome::Commit(_) | Outcome::Over(_) => Verdict::Dropped(Dropped::Run(Ending::Aborted)),
        }
    }

    /// Whether the end of this session, or the arrival of all it was sent, ends the handover.
    pub(super) fn end_handover(&self, session: SessionId) -> bool {
        self.handover.is_some_and(|(by, _)| by == session)
    }

    pub(super) fn is_handover_over(&self, now: Micros) -> bool {
        self.handover.is_none_or(|(_, until)| now >= until)
    }

    fn show(&mut self, core: &mut Core, now: Micros) {
        self.redraw = now.after(REDRAW);
        let (ssid, passcode, left) = (self.ssid.clone(), self.passcode.clone(), self.closes.since(now));
        core.actions.push_back(Action::Show(if !self.is_up {
            Screen::Starting
        } else if self.runs.values().any(Run::is_under_way) {
            Screen::Pairing { ssid }
        } else {
            match &self.purpose {
                Purpose::Claim => Screen::AccessPoint { ssid, passcode, left },
                Purpose::Maintenance(_) => Screen::Maintenance { ssid, passcode, left },
            }
        }));
    }
}

fn send(core: &mut Core, session: SessionId, replies: impl IntoIterator<Item = Vec<u8>>) {
    for payload in replies {
        core.actions.push_back(Action::SendPairing { session, payload });
    }
}
