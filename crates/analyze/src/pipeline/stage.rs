//! Work that is done in the order of the file, though several threads carry the batches.

use std::hint;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// So often a thread looks whether another is done before it lets go of its core: for some
/// ten microseconds.
pub(super) const SPINS: u32 = 500;

/// Something that batches come to by their numbers, from 0 on, whichever threads bring them.
///
/// A thread whose turn it is not yet waits for the one that carries the batch before. That
/// is a question of microseconds, so it looks again before it sleeps: to be woken takes longer.
#[derive(Debug)]
// Neighbours' turns are in other lines of the cache, which are fetched in pairs.
#[repr(align(128))]
pub(super) struct Stage<T> {
    next: AtomicU64,
    state: Mutex<T>,
}

impl<T> Stage<T> {
    /// Batch 0 comes first.
    pub(super) const fn new(state: T) -> Self {
        Self {
            next: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    /// Lets a batch through when those before it are through; none where they never will be.
    pub(super) fn pass<R>(
        &self,
        number: u64,
        alarm: &Alarm,
        work: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        let is_next = || self.next.load(Ordering::Acquire) == number;
        wait_until(|| is_next() || alarm.is_raised());
        is_next().then(|| {
            let result = work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
            self.next.store(number + 1, Ordering::Release);
            result
        })
    }
}

/// Whether all is to be left as it is: nobody is to wait for others then.
#[derive(Debug, Default)]
pub(super) struct Alarm(AtomicBool);

impl Alarm {
    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Raises it if this thread panics before what is given is dropped.
    pub(super) const fn watch(&self) -> Watch<'_> {
        Watch(self)
    }
}

/// See [`Alarm::watch`].
pub(super) struct Watch<'a>(&'a Alarm);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.raise();
        }
    }
}

/// Waits for what usually comes within microseconds, and not always: the other thread may
/// be kept from its core.
fn wait_until(is_so: impl Fn() -> bool) {
    const YIELDS: u32 = SPINS + 200;
    const PAUSE: Duration = Duration::from_micros(50);
    let mut looks: u32 = 0;
    while !is_so() {
        match looks {
            ..SPINS => hint::spin_loop(),
            SPINS..YIELDS => thread::yield_now(),
            _ => thread::sleep(PAUSE),
        }
        looks = looks.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_pass_in_their_order() {
        let stage = Stage::new(Vec::new());
        let alarm = Alarm::default();
        thread::scope(|scope| {
            for number in (0..8).rev() {
                let (stage, alarm) = (&stage, &alarm);
                scope.spawn(move || stage.pass(number, alarm, |passed| passed.push(number)));
            }
        });
        let passed = stage.state.into_inner().unwrap();
        assert_eq!(passed, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn nobody_waits_for_a_thread_that_panicked() {
        let stage = Stage::new(());
        let alarm = Alarm::default();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| stage.pass(1, &alarm, |()| ()));
            let panicking = scope.spawn(|| {
                let _watch = alarm.watch();
                stage.pass(0, &alarm, |()| panic!("on purpose"))
            });
            assert!(panicking.join().is_err());
            assert_eq!(waiting.join().unwrap(), None);
        });
    }
}
