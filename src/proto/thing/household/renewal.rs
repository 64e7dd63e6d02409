//! Renewing T_token and Ctlr-P, the thing's side (SecT STEP 18; protocol section 6.6).
//!
//! The next topic and password live beside the current ones until their controller says that it has kept
//! them; so whatever is lost on the way, one of the two works.

use super::HouseholdState;
use super::act::{After, Done};
use crate::proto::credential::CtlrPassword;
use crate::proto::message::ReturnCode;
use crate::proto::operation::result::Renewed;
use crate::proto::port::Ports;
use crate::proto::record::NextTopic;
use crate::proto::thing::Core;
use crate::proto::thing::registrar::Registrar;
use crate::proto::time::Micros;
use crate::proto::topic::TToken;

impl HouseholdState {
    /// `token.renew`: draws the next topic and password, or says again which they are.
    ///
    /// One that a cloud server gives to another thing is of no use, so it is drawn anew.
    pub(super) fn renew_token(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        index: usize,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Result<Done, ReturnCode> {
        let waiting = self.household.controllers[index].next.as_ref();
        let next = match waiting.filter(|next| !registrar.is_refused(&next.topic)) {
            Some(next) => next.clone(),
            None => {
                let next = NextTopic { topic: TToken::random(ports.rng), password: CtlrPassword::random(ports.rng) };
                let staged = self.persist(registrar, ports, |household| {
                    household.controllers[index].next = Some(next.clone());
                })?;
                self.adopt(core, registrar, staged, now);
                next
            }
        };
        Ok(Done::with(&Renewed { topic: next.topic, pass: next.password }))
    }

    /// `token.use`: the controller has kept what `token.renew` gave. No other message changes which topic is
    /// the current one.
    pub(super) fn use_token(
        &mut self,
        registrar: &Registrar,
        index: usize,
        wanted: &TToken,
        ports: &mut Ports<'_>,
    ) -> Result<Done, ReturnCode> {
        let record = &self.household.controllers[index];
        if record.topic == *wanted {
            return Ok(Done::default());
        }
        let next = record.next.clone().filter(|next| next.topic == *wanted).ok_or(ReturnCode::NotFound)?;
        let staged = self.persist(registrar, ports, |household| {
            let record = &mut household.controllers[index];
            (record.topic, record.credentials.password, record.next) = (next.topic, next.password, None);
        })?;
        // The answer may have to go by the topic that retires.
        Ok(Done { after: vec![After::Adopt(Box::new(staged))], ..Done::default() })
    }
}
