//! The one thread that changes the registry: plans, makes durable, answers (SecT STEP 9, 20).
//!
//! What comes in while the disk is busy becomes one transaction. Nobody is told that a list is in
//! force before it would outlive a power cut.

use std::sync::{Arc, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use super::gate::{read, write};
use super::log::AUDIT;
use super::mailbox::{Mailbox, Message};
use super::metrics::Metrics;
use super::router::{Identity, Router};
use super::store::Store;
use crate::mqtt::server::Qos;
use crate::proto::cloud::{Account, Answer, Change, Committed, Plan, Registry, ThingRecord};
use crate::proto::id::ThingId;
use crate::proto::registration::{RegSet, down_topic};

/// What the registrar is asked.
pub(super) enum Request {
    /// A thing has sent its list; the answer goes to its session.
    Register { thing: ThingId, set: RegSet, mailbox: Arc<Mailbox> },
    /// Forget reservations that have run out.
    Sweep,
}

/// What the thread works with.
pub(super) struct Registrar {
    pub(super) registry: Arc<RwLock<Registry>>,
    pub(super) router: Arc<Router>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) store: Store,
}

/// What a batch has done in memory and is to do on disk.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    previous: Vec<(ThingId, Option<ThingRecord>)>,
    revoked: Vec<Arc<Account>>,
    answers: Vec<(ThingId, Answer, Arc<Mailbox>)>,
}

impl Registrar {
    /// Works until nobody can ask any more.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut batch = Batch::default();
            self.plan(first, &mut batch);
            while batch.answers.len() < BATCH
                && let Ok(next) = requests.try_recv()
            {
                self.plan(next, &mut batch);
            }
            self.finish(batch);
        }
    }

    /// Puts a request in force in memory; it is not acknowledged yet, so a crash may take it back.
    fn plan(&self, request: Request, batch: &mut Batch) {
        let now = unix_seconds();
        let changes = match request {
            Request::Register { thing, set, mailbox } => {
                let Plan { answer, change } = read(&self.registry).plan(&thing, set, now);
                if answer.is_clone_alarm() && change.is_some() {
                    tracing::warn!(target: AUDIT, %thing, "a twin of this thing has registered; further ones are counted");
                }
                batch.answers.push((thing, answer, mailbox));
                change.into_iter().collect()
            }
            Request::Sweep => read(&self.registry).expired(now, SWEPT),
        };
        for change in changes {
            let Committed { previous, revoked } = write(&self.registry).commit(change.clone());
            batch.previous.push((change.thing, previous));
            batch.revoked.extend(revoked);
            batch.changes.push(change);
        }
    }

    fn finish(&mut self, batch: Batch) {
        let stored = if batch.changes.is_empty() { Ok(()) } else { self.store.write(&batch.changes) };
        let mut revoked = batch.revoked;
        if let Err(error) = &stored {
            // No answer: the things ask again. What holds is what the disk holds.
            tracing::error!(%error, "registrations could not be stored");
            self.metrics.store_failures.one();
            for (thing, previous) in batch.previous.into_iter().rev() {
                revoked.extend(write(&self.registry).roll_back(thing, previous));
            }
        }
        for account in revoked {
            self.router.end(&Identity::Controller(account.topic().clone()));
        }
        if stored.is_err() {
            return;
        }
        for (thing, answer, mailbox) in batch.answers {
            match &answer {
                Answer::Ok(ok) => {
                    self.metrics.registrations.one();
                    self.metrics.entries_refused.add(ok.refused.len() as u64);
                    tracing::debug!(target: AUDIT, %thing, generation = ok.generation, refused = ok.refused.len(), "registered");
                }
                Answer::Err(_) if answer.is_clone_alarm() => self.metrics.clones.one(),
                Answer::Err(_) => self.metrics.denials.registration.one(),
            }
            let message = Message { topic: down_topic(&thing), payload: answer.encode(), qos: Qos::AtLeastOnce };
            mailbox.leave(Arc::new(message));
        }
    }
}

/// The wall clock. One that stands before 1970 keeps reservations a little longer.
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Registrations in one transaction at most.
const BATCH: usize = 256;
/// Things whose reservations are swept at once.
const SWEPT: usize = 256;

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::super::mailbox::Mail;
    use super::*;
    use crate::mqtt::server::CloseReason;
    use crate::proto::registration::{Entry, Verifier};

    const A: ThingId = ThingId::new([1; 8]);

    fn entry(n: u8) -> Entry {
        Entry {
            topic: format!("{n:025}").parse().expect("digits"),
            user: format!("{n:016}").parse().expect("digits"),
            verifier: Verifier::of(&[n]),
        }
    }

    fn mail(mailbox: &Mailbox) -> Option<String> {
        mailbox.poll_mail(&Context::from_waker(Waker::noop())).map(|mail| match mail {
            Mail::Message(message) => String::from_utf8(message.payload.clone()).expect("text"),
            Mail::Close(reason) => format!("{reason:?}"),
        })
    }

    struct Place {
        registrar: Registrar,
        _folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let (store, records) = Store::open(folder.path()).expect("opens");
            let registrar = Registrar {
                registry: Arc::new(RwLock::new(Registry::from_records(records))),
                router: Arc::new(Router::new()),
                metrics: Arc::default(),
                store,
            };
            Self { registrar, _folder: folder }
        }

        /// What the things are told, all in one transaction.
        fn asks(&mut self, lists: &[(ThingId, u64, &[Entry])]) -> Vec<Option<String>> {
            let mailboxes: Vec<_> = lists.iter().map(|_| Arc::new(Mailbox::default())).collect();
            let mut batch = Batch::default();
            for ((thing, generation, acl), mailbox) in lists.iter().zip(&mailboxes) {
                let set = RegSet { generation: *generation, acl: acl.to_vec() };
                self.registrar.plan(Request::Register { thing: *thing, set, mailbox: mailbox.clone() }, &mut batch);
            }
            self.registrar.finish(batch);
            mailboxes.iter().map(|mailbox| mail(mailbox)).collect()
        }

        fn knows(&self, n: u8) -> bool {
            read(&self.registrar.registry).authenticate(entry(n).user.expose(), &[n]).is_some()
        }
    }

    fn ok(generation: u64) -> Option<String> {
        Some(format!(r#"{{"v":1,"t":"reg.ok","gen":{generation},"refused":[]}}"#))
    }

    #[test]
    fn one_transaction_takes_several_lists_in_their_order() {
        let mut place = Place::new();
        let other = ThingId::new([2; 8]);
        let answers = place.asks(&[(A, 1, &[entry(1)]), (other, 1, &[entry(2)]), (A, 2, &[entry(3)])]);
        assert_eq!(answers, [ok(1), ok(1), ok(2)]);
        assert_eq!([1, 2, 3].map(|n| place.knows(n)), [false, true, true]);
    }

    #[test]
    fn a_failing_disk_changes_nothing_and_answers_nobody() {
        let mut place = Place::new();
        assert_eq!(place.asks(&[(A, 1, &[entry(1), entry(2)])]), [ok(1)]);
        let session = Arc::new(Mailbox::default());
        let identity = Identity::Controller(entry(1).topic);
        place.registrar.router.join(identity, "x".into(), session.clone(), 4);

        place.registrar.store.fail_from_now_on();
        let other = ThingId::new([2; 8]);
        let answers = place.asks(&[(A, 2, &[entry(2)]), (other, 1, &[entry(3)]), (A, 3, &[])]);
        assert_eq!(answers, [None, None, None]);
        assert_eq!([1, 2, 3].map(|n| place.knows(n)), [true, true, false]);
        assert_eq!(read(&place.registrar.registry).things(), 1);
        // Its right was gone for a moment, so its session logs in again.
        assert_eq!(mail(&session), Some(format!("{:?}", CloseReason::Ended)));
        // What changes nothing needs no disk.
        assert_eq!(place.asks(&[(A, 1, &[entry(1), entry(2)])]), [ok(1)]);
    }
}
