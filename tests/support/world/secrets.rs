//! New keys, topics and passwords, and a plug that is given up: what each side keeps, and in which order.

use sect::proto::keys::MasterKey;
use sect::proto::message::ReturnCode;
use sect::proto::operation::Operation;
use sect::proto::operation::argument::{Confirmation, TokenUse, Unpair};
use sect::proto::operation::result::Renewed;
use sect::proto::pairing::binding::Binding;
use sect::proto::record::NextTopic;

use super::judge::WishId;
use super::{Mutation, World};

impl World {
    /// Somebody's controller updates its master key.
    pub(super) fn rekey(&mut self, person: usize) -> bool {
        let now = self.people[person].clock.reads(self.now);
        let Some(controller) = self.people[person].app.as_mut().and_then(|app| app.controller.as_mut()) else {
            return false;
        };
        controller.update_keys(now, &mut self.rng);
        self.note(|world| format!("{} updates the key", world.people[person].name));
        self.settle_app(person);
        true
    }

    /// The candidate is durable before the thing can commit it.
    pub(super) fn keep_candidate(&mut self, person: usize, candidate: MasterKey) {
        let Some(binding) = self.people[person].keyring.clone() else { return };
        let is_kept = self.mutation == Mutation::CandidateIsNotKept
            || self.keep(person, &Binding { candidate: Some(candidate), ..binding });
        if !is_kept {
            return;
        }
        let now = self.people[person].clock.reads(self.now);
        if let Some(controller) = self.people[person].app.as_mut().and_then(|app| app.controller.as_mut()) {
            controller.persisted(now, &mut self.rng);
        }
    }

    /// The thing has spoken under the next epoch: the past key is gone from its disk, and goes from the keyring.
    pub(super) fn keep_update(&mut self, person: usize, epoch: u32) {
        let Some(binding) = self.people[person].keyring.clone() else { return };
        let chain = self.people[person].app.as_ref().and_then(|app| app.controller.as_ref()).map(|one| one.keychain());
        let Some(chain) = chain.cloned() else { return };
        if self.record(binding.cid).is_some_and(|record| record.epoch < epoch) {
            self.accuse("the thing spoke under an epoch that its disk does not have".into());
        }
        let (epoch, master, candidate) = (chain.epoch, chain.master, chain.candidate);
        self.keep(person, &Binding { epoch, master, candidate, ..binding });
    }

    /// Somebody's controller renews its topic and password, or goes on with that.
    pub(super) fn renew(&mut self, person: usize) -> bool {
        let Some(binding) = &self.people[person].keyring else { return false };
        let wanted = match &binding.next {
            Some(next) => Operation::TokenUse(TokenUse { topic: next.topic.clone() }),
            None => Operation::TokenRenew,
        };
        self.wish(person, wanted).is_some()
    }

    /// What an answer means for the keyring.
    pub(super) fn follow(&mut self, person: usize, wish: WishId, rc: ReturnCode, result: Option<&str>) {
        let Some(binding) = self.people[person].keyring.clone() else { return };
        match (self.judge.wishes[wish].operation.clone(), rc) {
            (Operation::TokenRenew, ReturnCode::Ok) => {
                let Some(renewed) = result.and_then(|text| serde_json::from_str::<Renewed>(text).ok()) else {
                    self.accuse("a renewal without a topic".into());
                    return;
                };
                let next = Some(NextTopic { topic: renewed.topic, password: renewed.pass });
                if self.keep(person, &Binding { next, ..binding }) {
                    self.renew(person);
                }
            }
            (Operation::TokenUse(TokenUse { topic }), ReturnCode::Ok) => {
                if let Some(next) = binding.next.clone().filter(|next| next.topic == topic) {
                    if self.record(binding.cid).is_some_and(|record| record.topic != topic) {
                        self.accuse("the thing agreed to a topic that its disk does not have".into());
                    }
                    self.keep(person, &binding.with_topic(next));
                }
            }
            (Operation::TokenUse(_), ReturnCode::NotFound) => {
                self.keep(person, &Binding { next: None, ..binding });
            }
            (Operation::Unpair(_), ReturnCode::Ok) => {
                if !self.plug.disk.wiping && self.record(binding.cid).is_some() {
                    self.accuse("the thing said that it is given up, and its disk does not know".into());
                }
                self.people[person].keyring = None;
                if let Some(app) = &mut self.people[person].app {
                    app.controller = None;
                }
            }
            _ => {}
        }
    }

    /// An owner moves out.
    pub(super) fn give_up(&mut self, person: usize) -> bool {
        self.wish(person, Operation::Unpair(Unpair { confirm: Confirmation::Unpair })).is_some()
    }
}
