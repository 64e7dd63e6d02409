//! Events: what somebody is told without having asked (SecT STEP 13, 15; protocol section 6.4).

use std::borrow::Cow;
use std::sync::Arc;

use rand_core::CryptoRng;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{Asker, HouseholdState};
use crate::proto::action::{Action, Path, ServerId};
use crate::proto::id::Cid;
use crate::proto::message::{Cloned, EVENT_CLONE, EVENT_STATE, Event};
use crate::proto::port::Ports;
use crate::proto::record::ControllerRecord;
use crate::proto::thing::Core;
use crate::proto::thing::registrar::Registrar;
use crate::proto::time::Micros;
use crate::proto::user::Role;

/// Somebody whom an answer has just told what an event says, and by which way.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub(super) cid: Cid,
    pub(super) path: Path,
}

impl HouseholdState {
    /// The event `state`, to each controller.
    ///
    /// Who has just been `answered`, and has no other session, knows the state from the answer.
    pub(in crate::proto::thing) fn tell_everybody(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        answered: Option<Asker>,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) {
        let told = answered.map(|Asker { index, path, .. }| Told { cid: self.controllers[index].cid, path });
        self.tell_about(core, registrar, |_| true, (EVENT_STATE, None), told, now, rng);
    }

    /// Another thing registers under this one's name at `server`: its owners look at who may switch it, for an old
    /// copy brings back whom they have removed (protocol section 9). At most once an hour, as the registrar has it.
    pub(in crate::proto::thing) fn handle_clone(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        server: ServerId,
        now: Micros,
        ports: &mut Ports<'_>,
    ) {
        let Some(host) = registrar.host(server).map(str::to_owned) else { return };
        core.note(None, format!("another plug registers under this one's name at {host}"), now, ports.vault);
        self.tell_owners(core, registrar, (EVENT_CLONE, &Cloned { host }), None, now, ports.rng);
    }

    /// An event to the owners.
    pub(super) fn tell_owners(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        (kind, says): (&str, &impl Serialize),
        told: Option<Told>,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) {
        let says = to_raw_value(says).expect("what an event says is a map with string keys");
        self.tell_about(core, registrar, |record| record.role == Role::Owner, (kind, Some(&says)), told, now, rng);
    }

    /// An event to those whom `concerns` names, the same bytes on every path on which each may listen.
    #[expect(clippy::too_many_arguments, reason = "what every event needs, and what it says")]
    pub(super) fn tell_about(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        concerns: impl Fn(&ControllerRecord) -> bool,
        (kind, says): (&str, Option<&RawValue>),
        told: Option<Told>,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) {
        let st = self.state(core);
        let clouds: Vec<_> = registrar.live().map(Path::Cloud).collect();
        for (controller, record) in self.controllers.iter_mut().zip(&self.household.controllers) {
            let told = told.is_some_and(|told| told.cid == controller.cid && told.path == Path::Local);
            let others = controller.sessions.len() - usize::from(told && !controller.sessions.is_empty());
            let local = (others > 0).then_some(Path::Local);
            let paths = local.iter().chain(&clouds);
            if !concerns(record) || controller.stay.is_over() || paths.clone().next().is_none() {
                continue;
            }
            let ts = controller.freshness.stamp(now);
            let event = Event { boot: core.boot, ts, k: Cow::Borrowed(kind), st: st.clone(), d: says };
            controller
                .keys
                .t2c
                .seal_message_into(&event, rng, &mut self.jwe)
                .expect("an event is far below 1983 bytes");
            let payload: Arc<[u8]> = Arc::from(self.jwe.as_slice());
            for &path in paths {
                let publish =
                    |topic: &Arc<str>| Action::Publish { path, topic: topic.clone(), payload: payload.clone() };
                core.actions.extend(controller.listens_on().map(publish));
            }
        }
    }
}
