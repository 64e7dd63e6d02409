//! Giving the thing up (SecT STEP 20): from the owner's last command to the end of everybody's sessions.

use super::HouseholdState;
use crate::proto::action::{Action, Path, SessionId};
use crate::proto::envelope::Sealed;
use crate::proto::thing::{Core, Incoming};
use crate::proto::time::Micros;

impl HouseholdState {
    /// The answer is on its way to the one who gave the thing up. He alone may ask for it once more; what he said
    /// before, and what the others said, is not answered any more, on whatever path.
    pub(super) fn give_up(&mut self, core: &mut Core, by: usize, path: Path) {
        self.given_up = Some(path);
        let pair = self.controllers.iter().zip(&self.household.controllers).nth(by);
        let welcome = pair.into_iter().flat_map(|(controller, record)| controller.admissions(record)).collect();
        core.actions.push_back(Action::Admit(welcome));
        for (index, controller) in self.controllers.iter_mut().enumerate() {
            if index == by {
                controller.freshness.forget_earlier_answers();
            } else {
                controller.freshness.forget_answers();
                core.actions.extend(std::mem::take(&mut controller.sessions).into_iter().map(Action::EndSession));
            }
        }
    }

    /// Whether its owner has given the thing up.
    pub(in crate::proto::thing) const fn is_given_up(&self) -> bool {
        self.given_up.is_some()
    }

    /// A session of the one who gave the thing up ended. Whether it was the last by which the answer went: then he
    /// has it, for he hangs up when he has.
    pub(in crate::proto::thing) fn handle_hung_up(&mut self, session: SessionId) -> bool {
        let was_his = self.controllers.iter_mut().any(|controller| controller.sessions.remove(&session));
        let others = self.controllers.iter().any(|controller| !controller.sessions.is_empty());
        was_his && !others && self.given_up == Some(Path::Local)
    }

    /// Repeats an answer that was given before; whether there was one.
    pub(in crate::proto::thing) fn answer_again(
        &mut self,
        core: &mut Core,
        Incoming { from: path, topic, payload }: &Incoming<'_, Path>,
        now: Micros,
    ) -> bool {
        let Some((controller, spoken)) =
            self.controllers.iter_mut().find_map(|one| one.hears(topic).map(|on| (one, on)))
        else {
            return false;
        };
        let Ok(opened) = Sealed::parse(payload).and_then(|sealed| sealed.open(&controller.keys.c2t)) else {
            return false;
        };
        let Some(answer) = controller.freshness.answer_to(&opened.request_id(), now).cloned() else { return false };
        let topic = controller.answers_on(spoken).clone();
        core.actions.push_back(Action::Publish { path: *path, topic, payload: answer });
        true
    }
}
