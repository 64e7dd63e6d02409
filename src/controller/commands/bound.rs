//! A plug of the keyring, locked, reached and ready to be asked.

use super::{Context, LOCK_PATIENCE};
use crate::controller::clock;
use crate::controller::exit::{Exit, Failure};
use crate::controller::keyring::{Entry, Keyring, Locked};
use crate::controller::reach::Search;
use crate::controller::session::{Answer, Session, accepted, within};
use crate::proto::message::ReturnCode;
use crate::proto::operation::Operation;

/// The entry is what the keyring held after the lock was taken, so no other process changes it.
pub(super) struct Bound<'a> {
    pub(super) place: Locked<'a>,
    pub(super) entry: Entry,
    pub(super) session: Session,
    /// Whether other keys of the entry than its first ones have opened the session, which the file does not say yet.
    moved: bool,
}

impl<'a> Bound<'a> {
    /// Locks the plug's place in the keyring, finds the plug and opens a session.
    pub(super) async fn open(keyring: &'a Keyring, entry: Entry, search: &Search) -> Result<Self, Failure> {
        let place = keyring.lock(&entry.binding.thing, LOCK_PATIENCE).await?;
        // Another process may have confirmed or forgotten it while this one waited.
        let gone = || Failure::new(Exit::NotFound, format!("{} was forgotten just now", entry.alias));
        let entry = place.read()?.ok_or_else(gone)?;
        let first = entry.binding.cid;
        let (entry, session) = open(entry, search).await?;
        let moved = entry.binding.cid != first;
        Ok(Self { place, entry, session, moved })
    }

    /// Asks for the state, within the time that the user gave.
    pub(super) async fn status(&mut self, context: &Context<'_>) -> Result<Answer, Failure> {
        let answer = within(self.entry.alias.as_str(), context.global.timeout, self.session.status()).await?;
        self.answered()?;
        Ok(answer)
    }

    /// Asks the plug to do something, within the time that the user gave.
    pub(super) async fn ask(&mut self, context: &Context<'_>, operation: Operation) -> Result<Answer, Failure> {
        let answer = self.request(context, operation).await?;
        let alias = self.entry.alias.as_str();
        // Of the load alone it is unknown what became of it; everything else is one transaction.
        if answer.rc == ReturnCode::Storage {
            return Err(Failure::new(
                Exit::Other,
                format!("{alias} could not write that down, and nothing has changed"),
            )
            .next("try again; if that does not help, its memory card may be full or worn out"));
        }
        accepted(alias, answer)
    }

    /// The same, where a refusal is for the caller to put into words. Where the plug wants its key updated first,
    /// that is done, and the wish goes out once more as a new message (protocol section 6.1, EPOCH).
    pub(super) async fn request(&mut self, context: &Context<'_>, operation: Operation) -> Result<Answer, Failure> {
        let alias = self.entry.alias.to_string();
        let answer = within(&alias, context.global.timeout, self.session.request(operation.clone())).await?;
        // Whatever the answer says, it is one.
        self.answered()?;
        if answer.rc != ReturnCode::Epoch {
            return Ok(answer);
        }
        self.update_keys().await?;
        let answer = within(&alias, context.global.timeout, self.session.request(operation)).await?;
        self.answered()?;
        Ok(answer)
    }

    /// The plug answered: an unconfirmed pairing is confirmed by that (protocol section 7), and the answer may
    /// have shown which of two keys it has.
    pub(super) fn answered(&mut self) -> Result<(), Failure> {
        let confirmed = self.entry.confirm();
        let binding = &mut self.entry.binding;
        let epoch = binding.epoch;
        let mut news = binding.follow(self.session.keychain()) | confirmed;
        if binding.since_day.is_none() || binding.epoch != epoch {
            // Of a key that an earlier version has kept, nobody knows the age; it counts from here.
            binding.since_day = Some(clock::today());
            news = true;
        }
        if news | std::mem::take(&mut self.moved) {
            self.place.save(&self.entry)?;
        }
        Ok(())
    }
}

/// Opens a session with the keys that the plug has. Of a run that was cut off nobody knows whether it took them;
/// where it did not, it still has those from before. None is given up for that: whoever stands between can refuse
/// keys in the plug's name, and a last message of that run may still be on its way.
async fn open(entry: Entry, search: &Search) -> Result<(Entry, Session), Failure> {
    let failure = match Session::open(&entry, search).await {
        Ok(session) => return Ok((entry, session)),
        Err(failure) => failure,
    };
    if !matches!(failure.exit, Exit::NotFound | Exit::Crypto | Exit::Denied) {
        return Err(failure);
    }
    for at in 0..entry.others.len() {
        let mut before = entry.clone();
        std::mem::swap(&mut before.binding, &mut before.others[at]);
        if let Ok(session) = Session::open(&before, search).await {
            return Ok((before, session));
        }
    }
    Err(failure)
}

impl Context<'_> {
    /// The plug that the user means, ready to be asked.
    pub(super) async fn bound<'k>(&self, keyring: &'k Keyring) -> Result<Bound<'k>, Failure> {
        let entry = self.device(keyring)?;
        Bound::open(keyring, entry, &self.search()).await
    }
}
