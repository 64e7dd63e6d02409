//! Thing time and the paper's replay rule: what is old, early or was seen is not acted on
//! (SecT STEP 12; protocol section 6).
//!
//! The thing has no clock that survives a power cut. At each start it draws a boot nonce and counts
//! microseconds from there; both stand in every message. Nothing is persisted, and a message of an
//! earlier start can never be fresh again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::id::{Boot, RequestId};
use super::time::Micros;

/// How far a command may lie behind thing time.
pub const BEHIND: Duration = Duration::from_secs(30);
/// How far a command may lie ahead of thing time.
pub const AHEAD: Duration = Duration::from_secs(2);
/// Answers kept for each controller.
pub const ANSWERS: usize = 32;
/// How long an answer is kept.
pub const ANSWER_LIFE: Duration = Duration::from_secs(60);

/// Why an authentic message is not fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Stale {
    /// It is meant for another start of the daemon.
    #[error("of another start")]
    OtherBoot,
    /// Its time is not after the last accepted one: the paper's rule.
    #[error("not newer than the last accepted")]
    NotNewer,
    /// It was held back for more than 30 s.
    #[error("too old")]
    TooOld,
    /// It lies more than 2 s ahead.
    #[error("ahead of thing time")]
    TooEarly,
}

/// The proof that a message was fresh; only [`Freshness::accept`] makes one.
#[derive(Debug)]
#[must_use]
pub struct Fresh(());

/// What the thing remembers of one controller's time, in RAM alone.
#[derive(Debug, Default)]
pub struct Freshness {
    last_accepted: Option<Micros>,
    last_sent: Option<Micros>,
    answers: VecDeque<Answer>,
}

#[derive(Debug)]
struct Answer {
    request: RequestId,
    accepted_at: Micros,
    jwe: Arc<[u8]>,
}

impl Freshness {
    /// Accepts a message if it is fresh, and remembers its time.
    ///
    /// # Errors
    ///
    /// Why it is [`Stale`]; nothing is remembered then.
    pub fn accept(&mut self, own: Boot, now: Micros, boot: Boot, ts: Micros) -> Result<Fresh, Stale> {
        if boot != own {
            return Err(Stale::OtherBoot);
        }
        if self.last_accepted.is_some_and(|last| ts <= last) {
            return Err(Stale::NotNewer);
        }
        if now.since(ts) > BEHIND {
            return Err(Stale::TooOld);
        }
        if ts.since(now) > AHEAD {
            return Err(Stale::TooEarly);
        }
        self.last_accepted = Some(ts);
        Ok(Fresh(()))
    }

    /// The time to put into the next message to this controller: now, but always rising.
    pub fn stamp(&mut self, now: Micros) -> Micros {
        let ts = match self.last_sent {
            Some(last) if last >= now => Micros::new(last.get() + 1),
            _ => now,
        };
        self.last_sent = Some(ts);
        ts
    }

    /// The answer that these very bytes got before: in the last 60 s, or to the last one accepted.
    #[must_use]
    pub fn answer_to(&self, request: &RequestId, now: Micros) -> Option<&Arc<[u8]>> {
        let is_kept = |(back, answer): &(usize, &Answer)| *back == 0 || now.since(answer.accepted_at) <= ANSWER_LIFE;
        let mut kept = self.answers.iter().rev().enumerate().take_while(is_kept);
        kept.find(|(_, answer)| answer.request == *request).map(|(_, answer)| &answer.jwe)
    }

    /// Keeps no answer but the last one.
    pub fn forget_earlier_answers(&mut self) {
        self.answers.drain(..self.answers.len().saturating_sub(1));
    }

    /// Keeps no answer.
    pub fn forget_answers(&mut self) {
        self.answers.clear();
    }

    /// Keeps an accepted message's answer: 32 of them, 60 s, and the last one for good. Gives it back
    /// as it is kept, in the memory of the last one that it displaces if that fits and is free.
    pub fn keep_answer(&mut self, request: RequestId, now: Micros, jwe: &[u8]) -> Arc<[u8]> {
        let mut displaced = None;
        while self.answers.len() >= ANSWERS
            || self.answers.front().is_some_and(|oldest| now.since(oldest.accepted_at) > ANSWER_LIFE)
        {
            displaced = self.answers.pop_front();
        }
        let jwe = match displaced.map(|answer| answer.jwe) {
            Some(mut memory) => match Arc::get_mut(&mut memory) {
                Some(bytes) if bytes.len() == jwe.len() => {
                    bytes.copy_from_slice(jwe);
                    memory
                }
                _ => jwe.into(),
            },
            None => jwe.into(),
        };
        self.answers.push_back(Answer { request, accepted_at: now, jwe: jwe.clone() });
        jwe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: Boot = Boot::new([1; 16]);
    const NOW: Micros = Micros::new(100_000_000);

    fn judge(freshness: &mut Freshness, ts: u64) -> Result<(), Stale> {
        freshness.accept(BOOT, NOW, BOOT, Micros::new(ts)).map(|_| ())
    }

    #[test]
    fn a_message_lives_30_s_behind_and_2_s_ahead() {
        for (ts, verdict) in [
            (69_999_999, Err(Stale::TooOld)),
            (70_000_000, Ok(())),
            (100_000_000, Ok(())),
            (102_000_000, Ok(())),
            (102_000_001, Err(Stale::TooEarly)),
            (u64::MAX, Err(Stale::TooEarly)),
        ] {
            assert_eq!(judge(&mut Freshness::default(), ts), verdict, "{ts}");
        }
    }

    #[test]
    fn equal_or_older_than_the_last_accepted_is_refused() {
        let mut freshness = Freshness::default();
        assert_eq!(judge(&mut freshness, 100_000_000), Ok(()));
        assert_eq!(judge(&mut freshness, 100_000_000), Err(Stale::NotNewer));
        assert_eq!(judge(&mut freshness, 99_999_999), Err(Stale::NotNewer));
        assert_eq!(judge(&mut freshness, 100_000_001), Ok(()));
    }

    #[test]
    fn a_refused_message_leaves_no_trace() {
        let mut freshness = Freshness::default();
        assert_eq!(judge(&mut freshness, 200_000_000), Err(Stale::TooEarly));
        assert_eq!(judge(&mut freshness, 100_000_000), Ok(()));
    }

    #[test]
    fn a_message_of_another_start_is_never_fresh() {
        let verdict = Freshness::default().accept(BOOT, NOW, Boot::new([2; 16]), NOW);
        assert_eq!(verdict.err(), Some(Stale::OtherBoot));
    }

    #[test]
    fn stamps_rise_when_the_clock_stands_still() {
        let mut freshness = Freshness::default();
        let stamps = [NOW, NOW, Micros::new(5)].map(|now| freshness.stamp(now).get() - NOW.get());
        assert_eq!(stamps, [0, 1, 2]);
    }

    #[test]
    fn the_last_answer_is_never_evicted() {
        let mut freshness = Freshness::default();
        let id = |n| RequestId::new([n; 16]);
        let later = Micros::new(60_000_001);
        freshness.keep_answer(id(0), Micros::ZERO, &[0]);
        assert_eq!(freshness.answer_to(&id(0), Micros::new(u64::MAX)), Some(&[0].into()));
        freshness.keep_answer(id(1), later, &[1]);
        assert_eq!(freshness.answer_to(&id(0), later), None);
        assert_eq!(freshness.answer_to(&id(1), later), Some(&[1].into()));
        for n in 2..=33 {
            freshness.keep_answer(id(n), later, &[n]);
        }
        assert_eq!(freshness.answer_to(&id(1), later), None);
        assert_eq!(freshness.answer_to(&id(2), later), Some(&[2].into()));
    }

    #[test]
    fn earlier_answers_are_forgotten_and_the_last_one_is_not() {
        let mut freshness = Freshness::default();
        freshness.forget_earlier_answers();
        let id = |n| RequestId::new([n; 16]);
        for n in 0..3 {
            freshness.keep_answer(id(n), NOW, &[n]);
        }
        freshness.forget_earlier_answers();
        assert_eq!([0, 1, 2].map(|n| freshness.answer_to(&id(n), NOW).is_some()), [false, false, true]);
        freshness.forget_answers();
        assert_eq!(freshness.answer_to(&id(2), NOW), None);
    }

    #[test]
    fn an_answer_that_is_still_in_use_is_not_overwritten() {
        let mut freshness = Freshness::default();
        let id = |n| RequestId::new([n; 16]);
        let first = freshness.keep_answer(id(0), NOW, b"first");
        let free = freshness.keep_answer(id(1), NOW, b"other");
        let place = free.as_ptr();
        drop(free);
        for n in 2..32 {
            freshness.keep_answer(id(n), NOW, b"kept.");
        }
        // The first is in use, so the 33rd answer takes memory of its own; the 34th takes the second's.
        let own = freshness.keep_answer(id(32), NOW, b"owned");
        let reused = freshness.keep_answer(id(33), NOW, b"again");
        assert_eq!((&*first, &*own, &*reused), (&b"first"[..], &b"owned"[..], &b"again"[..]));
        assert_eq!(reused.as_ptr(), place);
        assert_eq!(freshness.answer_to(&id(33), NOW), Some(&reused));
        assert_eq!(freshness.answer_to(&id(0), NOW), None);
    }

    #[test]
    fn an_answer_but_the_last_is_given_for_60_s_and_no_longer() {
        let mut freshness = Freshness::default();
        let id = |n| RequestId::new([n; 16]);
        for n in 0..3 {
            freshness.keep_answer(id(n), Micros::new(u64::from(n)), &[n]);
        }
        let given = |now| [0, 1, 2].map(|n| freshness.answer_to(&id(n), Micros::new(now)).is_some());
        assert_eq!(given(60_000_000), [true, true, true]);
        assert_eq!(given(60_000_001), [false, true, true]);
        assert_eq!(given(60_000_003), [false, false, true]);
        assert_eq!(given(u64::MAX), [false, false, true]);
    }
}
