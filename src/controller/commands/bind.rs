//! What `sect pair` and `sect accept` have in common: a run from M1 to M9, driven over a link, and what it
//! gives made durable in time (protocol section 7).

use tokio::time::sleep;

use super::{Context, LOCK_PATIENCE};
use crate::controller::clock;
use crate::controller::exit::Failure;
use crate::controller::keyring::{Entry, Keyring, KeyringError, same_alias};
use crate::controller::print::Printer;
use crate::mqtt::client::{Delivery, Link};
use crate::proto::id::ThingId;
use crate::proto::pairing::binding::Binding;
use crate::proto::pairing::controller::{PairingError, Progress, Run, Step};
use crate::proto::topic::PAIR_C2T;
use crate::proto::user::Name;

/// How a run ended that did not fail.
pub(super) enum Ended {
    /// M9 came.
    Confirmed(Binding),
    /// M8 went out, M9 did not come: any answer at home confirms it.
    Unconfirmed(Binding),
}

/// Drives the run from M1 to M9; `failed` says in words why one failed.
pub(super) async fn drive(
    context: &Context<'_>,
    keyring: &Keyring,
    alias: &Name,
    link: &mut Link,
    mut run: Run,
    failed: impl Fn(PairingError) -> Failure,
) -> Result<Ended, Failure> {
    let mut persisted = None;
    loop {
        while let Some(step) = run.poll_step() {
            match step {
                Step::TellUser(progress) => {
                    context.printer.step(&spoken(progress));
                    if let Progress::Found { thing } = progress {
                        // Before M3: the plug has not learned anything yet, and nothing of it is kept.
                        expect_alias_free(keyring, alias, &thing)?;
                    }
                }
                Step::Persist(binding) => {
                    save(keyring, alias, &binding).await?;
                    persisted = Some(*binding);
                    run.persisted(&mut clock::rng());
                }
                Step::Done(binding) => {
                    return Ok(taken(context.printer, save(keyring, alias, &binding).await, *binding));
                }
                Step::Failed(PairingError::Unconfirmed) => {
                    let binding = persisted.ok_or_else(|| failed(PairingError::Unconfirmed))?;
                    return Ok(Ended::Unconfirmed(binding));
                }
                Step::Failed(error) => return Err(failed(error)),
            }
        }
        while let Some(payload) = run.poll_transmit(clock::now()) {
            if link.publish(PAIR_C2T, Delivery::AtLeastOnce, payload).await.is_err() {
                run.handle_session_end();
            }
        }
        let alarm = run.poll_timeout();
        let alarm = async {
            match alarm {
                Some(at) => sleep(at.since(clock::now())).await,
                None => std::future::pending().await,
            }
        };
        // A step may have come with the last message: it goes first.
        tokio::select! {
            received = link.receive() => match received {
                Ok(publication) => run.handle_message(&publication.payload, &mut clock::rng()),
                Err(error) => {
                    tracing::debug!(%error, "the session ended");
                    run.handle_session_end();
                }
            },
            () = alarm => run.handle_timeout(clock::now()),
        }
    }
}

/// M9 came, so the plug has taken these keys, and with them the recovery code whose paper a failure would void.
/// They have been durable since before M8: a keyring that cannot be written now lacks the word that they are
/// confirmed, and any answer of the plug brings that.
fn taken(printer: &Printer, saved: Result<(), Failure>, binding: Binding) -> Ended {
    match saved {
        Ok(()) => Ended::Confirmed(binding),
        Err(failure) => {
            printer.warning(&failure.to_string());
            Ended::Unconfirmed(Binding { confirmed: false, ..binding })
        }
    }
}

/// Another plug may have the alias, be it one whose pairing was cut off; the same one may be paired again.
pub(super) fn expect_alias_free(keyring: &Keyring, alias: &Name, thing: &ThingId) -> Result<(), Failure> {
    let entries = keyring.contents()?.entries;
    if entries.iter().any(|entry| entry.binding.thing != *thing && same_alias(&entry.alias, alias)) {
        return Err(KeyringError::AliasTaken(alias.clone()).into());
    }
    Ok(())
}

/// Durable when it returns: M8 depends on it (protocol section 7). Until the plug has confirmed, the keys that
/// were there stay beside the new ones.
async fn save(keyring: &Keyring, alias: &Name, binding: &Binding) -> Result<(), Failure> {
    let place = keyring.lock(&binding.thing, LOCK_PATIENCE).await?;
    let (alias, binding) = (alias.clone(), binding.clone());
    let entry = match place.read()?.filter(|_| !binding.confirmed) {
        Some(before) => before.with_unconfirmed(alias, binding),
        None => Entry::new(alias, binding),
    };
    Ok(place.save(&entry)?)
}

/// The paper's steps in a householder's words.
fn spoken(progress: Progress) -> String {
    match progress {
        Progress::Found { thing } => format!("The plug calls itself {thing}."),
        Progress::CodeProved => {
            "The plug knows the code too: you share keys (STEP 6), and a secret topic (STEP 3).".to_owned()
        }
        Progress::NetworkGiven => "The plug gets your home network, encrypted (STEP 4).".to_owned(),
        Progress::Certified => "You get a login and a certificate of the plug (STEP 5).".to_owned(),
        Progress::PskAgreed { .. } => "Both hold the key for the plug's own server (STEP 7).".to_owned(),
        Progress::Committing => "Your keyring has it on disk; the plug is told to do the same.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::exit::Exit;
    use crate::controller::keyring::testing::entry;

    #[test]
    fn what_the_plug_has_taken_is_no_failure_whatever_the_keyring_says() {
        let binding = Binding { confirmed: true, ..entry("Lamp", 1).binding };
        let printer = Printer::new(true);
        let Ended::Confirmed(kept) = taken(&printer, Ok(()), binding.clone()) else { panic!("it was written") };
        assert_eq!(kept, binding);
        let full = Failure::new(Exit::Other, "the disk is full");
        let Ended::Unconfirmed(kept) = taken(&printer, Err(full), binding.clone()) else { panic!("it was not") };
        assert_eq!(kept, Binding { confirmed: false, ..binding });
    }
}
