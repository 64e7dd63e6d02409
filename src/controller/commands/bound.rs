//! A plug of the keyring, locked, reached and ready to be asked.

use super::{Context, LOCK_PATIENCE};
use crate::controller::exit::{Exit, Failure};
use crate::controller::keyring::{Entry, Keyring, Locked};
use crate::controller::reach::Search;
use crate::controller::session::{self, Answer, Session, accepted, within};
use crate::proto::message::ReturnCode;
use crate::proto::operation::Operation;

/// The entry is what the keyring held after the lock was taken, so no other process changes it.
pub(super) struct Bound<'a> {
    pub(super) place: Locked<'a>,
    pub(super) entry: Entry,
    pub(super) session: Session,
}

impl<'a> Bound<'a> {
    /// Locks the plug's place in the keyring, finds the plug and opens a session.
    pub(super) async fn open(keyring: &'a Keyring, entry: Entry, search: &Search) -> Result<Self, Failure> {
        let place = keyring.lock(&entry.binding.thing, LOCK_PATIENCE).await?;
        // Another process may have confirmed or forgotten it while this one waited.
        let gone = || Failure::new(Exit::NotFound, format!("{} was forgotten just now", entry.alias));
        let entry = place.read()?.ok_or_else(gone)?;
        let session = Session::open(&entry, search).await?;
        Ok(Self { place, entry, session })
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

    /// The same, where a refusal is for the caller to put into words.
    pub(super) async fn request(&mut self, context: &Context<'_>, operation: Operation) -> Result<Answer, Failure> {
        let alias = self.entry.alias.to_string();
        let answer = within(&alias, context.global.timeout, self.session.request(operation)).await?;
        // Whatever the answer says, it is one.
        self.answered()?;
        Ok(answer)
    }

    /// The plug answered: an unconfirmed pairing is confirmed by that (protocol section 7).
    pub(super) fn answered(&mut self) -> Result<(), Failure> {
        Ok(session::confirm(&self.place, &mut self.entry)?)
    }
}

impl Context<'_> {
    /// The plug that the user means, ready to be asked.
    pub(super) async fn bound<'k>(&self, keyring: &'k Keyring) -> Result<Bound<'k>, Failure> {
        let entry = self.device(keyring)?;
        Bound::open(keyring, entry, &self.search()).await
    }
}
