//! The Thing-AP and its windows: a fresh passcode for each, an end to each (SecT STEP 1, 2).

use std::collections::BTreeMap;
use std::time::Duration;

use rand_core::CryptoRng;

use super::registrar::Registrar;
use super::verdict::{Dropped, Verdict};
use super::{Core, Incoming};
use crate::proto::action::{Action, Admission, Fault, Screen, SessionId, WifiEvent};
use crate::proto::keys::{self, PairingCode};
use crate::proto::pairing::PAIR_IDENTITY;
use crate::proto::pairing::thing::{Context, Ending, Outcome, Run};
use crate::proto::passcode::{self, Passcode};
use crate::proto::port::Ports;
use crate::proto::record::Household;
use crate::proto::time::Micros;
use crate::proto::topic::{PAIR_C2T, PAIR_T2C};

/// How long a window is open (protocol section 2).
pub(super) const WINDOW: Duration = Duration::from_secs(600);
/// Failed or aborted runs that end a window early.
pub(super) const MAX_BAD_RUNS: u32 = 5;
/// Windows without a claim, after which the access point sleeps until the button or a restart.
pub(super) const MAX_WINDOWS: u32 = 6;
/// Sessions of the pairing identity at a time.
pub(super) const MAX_PAIR_SESSIONS: usize = 2;
/// How long the access point waits for M9 to arrive.
pub(super) const HANDOVER: Duration = Duration::from_secs(5);
/// How often the time left is drawn anew.
const REDRAW: Duration = Duration::from_secs(10);

/// The access point of a thing that nobody owns.
pub(super) struct AccessPoint {
    /// Windows that passed without a claim.
    passed: u32,
    window: Option<Window>,
}

struct Window {
    ssid: String,
    passcode: Passcode,
    closes: Micros,
    redraw: Micros,
    /// Whether the access point is on the air: nobody reads a passcode that opens nothing yet.
    is_up: bool,
    bad_runs: u32,
    runs: BTreeMap<SessionId, Run>,
    /// The session that claimed the thing, and until when M9 may take.
    handover: Option<(SessionId, Micros)>,
}

impl AccessPoint {
    /// Opens the first window.
    pub(super) fn open(core: &mut Core, now: Micros, rng: &mut dyn CryptoRng) -> Self {
        let mut access_point = Self { passed: 0, window: None };
        access_point.open_window(core, now, rng);
        access_point
    }

    /// Whether all windows have passed.
    pub(super) fn is_asleep(&self) -> bool {
        self.window.is_none()
    }

    /// Starts again with the first window.
    pub(super) fn wake(&mut self, core: &mut Core, now: Micros, rng: &mut dyn CryptoRng) {
        self.passed = 0;
        self.open_window(core, now, rng);
    }

    fn open_window(&mut self, core: &mut Core, now: Micros, rng: &mut dyn CryptoRng) {
        let window = Window {
            ssid: passcode::access_point_ssid(rng),
            passcode: Passcode::random(rng),
            closes: now.after(WINDOW),
            redraw: now,
            is_up: false,
            bad_runs: 0,
            runs: BTreeMap::new(),
            handover: None,
        };
        core.actions.push_back(Action::Admit(vec![Admission {
            psk_identity: PAIR_IDENTITY.to_owned(),
            psk: keys::pairing_psk(&window.passcode),
            login: None,
            publish: PAIR_C2T.to_owned(),
            subscribe: PAIR_T2C.to_owned(),
            max_sessions: MAX_PAIR_SESSIONS,
        }]));
        core.actions
            .push_back(Action::OpenAccessPoint { ssid: window.ssid.clone(), passphrase: window.passcode.clone() });
        let window = self.window.insert(window);
        window.show(core, now);
    }

    fn close_window(&mut self, core: &mut Core, now: Micros, rng: &mut dyn CryptoRng) {
        self.passed += 1;
        // Who came in with the old passcode goes with it.
        let sessions = self.window.take().into_iter().flat_map(|window| window.runs.into_keys());
        core.actions.extend(sessions.map(Action::EndSession));
        if self.passed < MAX_WINDOWS {
            self.open_window(core, now, rng);
        } else {
            core.actions.push_back(Action::Admit(Vec::new()));
            core.actions.push_back(Action::CloseAccessPoint);
            core.actions.push_back(Action::Show(Screen::AccessPointOff));
        }
    }

    pub(super) fn handle_session_opened(&mut self, session: SessionId, psk_identity: &str) {
        if let Some(window) = &mut self.window
            && psk_identity == PAIR_IDENTITY
        {
            window.runs.insert(session, Run::new(PairingCode::of_passcode(&window.passcode)));
        }
    }

    pub(super) fn handle_session_closed(
        &mut self,
        core: &mut Core,
        session: SessionId,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) {
        let Some(window) = &mut self.window else { return };
        if window.runs.remove(&session).is_some_and(|run| run.is_under_way()) {
            self.count_bad_run(core, now, rng);
        }
    }

    /// A message of a run; gives the household once it is persisted.
    pub(super) fn handle_publish(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        Incoming { from: session, topic, payload }: Incoming<'_, SessionId>,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> (Verdict, Option<Household>) {
        let Some(window) = self.window.as_mut().filter(|_| topic == PAIR_C2T) else {
            return (Verdict::Dropped(Dropped::ForeignTopic), None);
        };
        let Some(run) = window.runs.get_mut(&session) else {
            return (Verdict::Dropped(Dropped::ForeignTopic), None);
        };
        let clouds = registrar.clouds();
        let context = Context { identity: &core.identity, clouds: &clouds };
        match run.handle_message(payload, now, &context, ports.rng) {
            Outcome::Reply(replies) => {
                send(core, session, replies);
                window.show(core, now);
                (Verdict::Paired, None)
            }
            Outcome::Commit(bound) => {
                let household = Household::founded(bound.controller, bound.network, bound.recovery);
                if ports.vault.claim(&household, registrar.next_generation()).is_err() {
                    self.end_run(core, session, now, ports.rng);
                    return (Verdict::Dropped(Dropped::Store), None);
                }
                send(core, session, run.committed(ports.rng));
                // Nobody else may go on: the thing has its owner.
                for (&other, _) in window.runs.iter().filter(|&(&other, _)| other != session) {
                    core.actions.push_back(Action::EndSession(other));
                }
                window.runs.retain(|&run, _| run == session);
                window.handover = Some((session, now.after(HANDOVER)));
                (Verdict::Paired, Some(household))
            }
            Outcome::Over(ending) => {
                self.end_run(core, session, now, ports.rng);
                (Verdict::Dropped(Dropped::Run(ending)), None)
            }
        }
    }

    fn end_run(&mut self, core: &mut Core, session: SessionId, now: Micros, rng: &mut dyn CryptoRng) {
        let Some(window) = &mut self.window else { return };
        if window.runs.remove(&session).is_some() {
            core.actions.push_back(Action::EndSession(session));
            self.count_bad_run(core, now, rng);
        }
    }

    fn count_bad_run(&mut self, core: &mut Core, now: Micros, rng: &mut dyn CryptoRng) {
        let Some(window) = &mut self.window else { return };
        window.bad_runs += 1;
        if window.bad_runs >= MAX_BAD_RUNS {
            self.close_window(core, now, rng);
        } else {
            window.show(core, now);
        }
    }

    pub(super) fn handle_wifi(&mut self, core: &mut Core, event: WifiEvent, now: Micros) {
        match event {
            WifiEvent::AccessPointUp => {
                if let Some(window) = &mut self.window {
                    window.is_up = true;
                    window.show(core, now);
                }
            }
            WifiEvent::AccessPointFailed => core.actions.push_back(Action::Show(Screen::Fault(Fault::Radio))),
            WifiEvent::Joined | WifiEvent::JoinFailed(_) | WifiEvent::Lost => {}
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Micros> {
        let window = self.window.as_ref()?;
        match window.handover {
            Some((_, until)) => Some(until),
            None => {
                let runs = window.runs.values().filter_map(Run::deadline);
                runs.chain([window.closes, window.redraw]).min()
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, core: &mut Core, now: Micros, rng: &mut dyn CryptoRng) {
        let Some(window) = &mut self.window else { return };
        if now >= window.closes {
            self.close_window(core, now, rng);
            return;
        }
        let over = |(&session, run): (&SessionId, &Run)| run.deadline().is_some_and(|at| now >= at).then_some(session);
        let over: Vec<_> = window.runs.iter().filter_map(over).collect();
        if now >= window.redraw {
            window.show(core, now);
        }
        for session in over {
            self.end_run(core, session, now, rng);
        }
    }

    /// Whether this session claimed the thing a moment ago.
    pub(super) fn has_session(&self, session: SessionId) -> bool {
        self.window.as_ref().is_some_and(|window| window.runs.contains_key(&session))
    }

    /// The last message of the run that claimed the thing may come again; nothing else.
    pub(super) fn handle_repeat(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        Incoming { from: session, topic, payload }: Incoming<'_, SessionId>,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Verdict {
        let run = self.window.as_mut().and_then(|window| window.runs.get_mut(&session));
        let Some(run) = run.filter(|_| topic == PAIR_C2T) else {
            return Verdict::Dropped(Dropped::ForeignTopic);
        };
        let clouds = registrar.clouds();
        let context = Context { identity: &core.identity, clouds: &clouds };
        match run.handle_message(payload, now, &context, ports.rng) {
            Outcome::Reply(replies) => {
                send(core, session, replies);
                Verdict::Repeated
            }
            Outcome::Commit(_) | Outcome::Over(_) => Verdict::Dropped(Dropped::Run(Ending::Aborted)),
        }
    }

    /// Whether the end of this session, or the arrival of all it was sent, ends the handover.
    pub(super) fn end_handover(&mut self, session: SessionId) -> bool {
        self.window.as_ref().is_some_and(|window| window.handover.is_some_and(|(by, _)| by == session))
    }

    pub(super) fn is_handover_over(&self, now: Micros) -> bool {
        self.window.as_ref().and_then(|window| window.handover).is_none_or(|(_, until)| now >= until)
    }
}

impl Window {
    fn show(&mut self, core: &mut Core, now: Micros) {
        self.redraw = now.after(REDRAW);
        core.actions.push_back(Action::Show(if !self.is_up {
            Screen::Starting
        } else if self.runs.values().any(Run::is_under_way) {
            Screen::Pairing { ssid: self.ssid.clone() }
        } else {
            Screen::AccessPoint {
                ssid: self.ssid.clone(),
                passcode: self.passcode.clone(),
                left: self.closes.since(now),
            }
        }));
    }
}

fn send(core: &mut Core, session: SessionId, replies: impl IntoIterator<Item = Vec<u8>>) {
    for payload in replies {
        core.actions.push_back(Action::SendPairing { session, payload });
    }
}
