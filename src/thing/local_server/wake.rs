//! Which connections want to be looked at: one bit each, set by their wakers, so that a message on one
//! connection costs nothing on the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// The bits and whom to wake when one is set.
pub(super) struct WakeSet {
    shared: Arc<Shared>,
    wakers: Vec<Waker>,
    /// Where the next search begins, so that no connection is always first.
    from: usize,
}

struct Shared {
    words: Box<[AtomicU32]>,
    task: AtomicWaker,
}

struct Bit {
    shared: Arc<Shared>,
    index: usize,
}

impl Wake for Bit {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.shared.set(self.index);
        self.shared.task.wake();
    }
}

impl Shared {
    fn set(&self, index: usize) {
        self.words[index / WORD].fetch_or(1 << (index % WORD), Ordering::Release);
    }
}

impl WakeSet {
    pub(super) fn new(size: usize) -> Self {
        let words = (0..size.div_ceil(WORD)).map(|_| AtomicU32::new(0)).collect();
        let shared = Arc::new(Shared { words, task: AtomicWaker::new() });
        let wakers = (0..size).map(|index| Waker::from(Arc::new(Bit { shared: shared.clone(), index }))).collect();
        Self { shared, wakers, from: 0 }
    }

    /// Wakes `task` from now on.
    pub(super) fn register(&self, task: &Waker) {
        self.shared.task.register(task);
    }

    /// The waker of one connection.
    pub(super) fn waker(&self, index: usize) -> &Waker {
        &self.wakers[index]
    }

    /// Sets a bit from inside the task.
    pub(super) fn mark(&self, index: usize) {
        self.shared.set(index);
    }

    /// Clears and returns one bit that is set.
    pub(super) fn take(&mut self) -> Option<usize> {
        let words = &self.shared.words;
        let (first, skipped) = (self.from / WORD, (1 << (self.from % WORD)) - 1);
        // Each word once, and the first one again for its bits below `from`.
        let turns = (first..words.len()).chain(0..first).zip([!skipped].into_iter().chain(std::iter::repeat(u32::MAX)));
        for (at, mask) in turns.chain([(first, skipped)]) {
            let set = words[at].load(Ordering::Relaxed) & mask;
            if set != 0 {
                // Only here are bits cleared, so that this one is still set.
                words[at].fetch_and(!(1 << set.trailing_zeros()), Ordering::Acquire);
                let index = at * WORD + set.trailing_zeros() as usize;
                self.from = (index + 1) % self.wakers.len();
                return Some(index);
            }
        }
        None
    }
}

const WORD: usize = u32::BITS as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_is_taken_once_and_in_turn() {
        let mut set = WakeSet::new(70);
        assert_eq!(set.take(), None);
        for index in [69, 3, 40] {
            set.waker(index).wake_by_ref();
        }
        set.mark(3);
        assert_eq!([set.take(), set.take()], [Some(3), Some(40)]);
        // 3 is ready again, but 69 has waited longer.
        set.mark(3);
        assert_eq!([set.take(), set.take(), set.take()], [Some(69), Some(3), None]);
    }

    #[test]
    fn all_bits_are_found_from_wherever_the_search_begins() {
        let mut set = WakeSet::new(70);
        for from in 0..70 {
            set.mark(from);
            assert_eq!(set.take(), Some(from));
            (0..70).for_each(|index| set.mark(index));
            let expected: Vec<_> = (from + 1..70).chain(0..=from).map(Some).chain([None]).collect();
            let taken: Vec<_> = (0..=70).map(|_| set.take()).collect();
            assert_eq!(taken, expected, "from {from}");
        }
    }
}
