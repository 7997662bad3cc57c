//! Who runs next, and who sleeps: the ready lists and the sleep and wake protocol. [`PROTOCOL.md`](../PROTOCOL.md) has the states, the two
//! protocols and the argument that no wake is lost; `loom-tests` runs this very code.
//!
//! In short. Posting is *push, fence, look for a sleeper*; falling asleep is *show that I sleep, fence, look for work*. At
//! most one wake is on its way: the woken worker searches, and when it has found something, wakes the next before it runs it.
//!
//! **Orderings.** Fences are `SeqCst` and name their partner. Read-modify-writes on shared words are `AcqRel`: whoever moves a word after another sees what that one did
//! before; `sleep` and `parked` need it for the proof in PROTOCOL.md, `slow_running` and `threads` so that a slot and what was done before it is given back are seen
//! together, `turn` for the keeper. Acquire loads are of words that were moved so. Relaxed loads are first looks, or follow a fence.
//!
//! Nothing here knows what a task is, or starts a thread.

use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::wait::WaitStrategy;
use crate::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::{Seat, SegQueue, mutation, now, spin_loop};

/// The sleep word: how many workers search in the lower half, how many are parked in the upper.
const SEARCHING: u64 = 1;
const IDLE: u64 = 1 << 32;

fn searching(word: u64) -> u64 {
    word & (IDLE - 1)
}

fn idle(word: u64) -> u64 {
    word >> 32
}

/// How often a worker that has run out of work looks again before it parks, and how long it rests between two looks: together some 5 µs, about
/// what a wake costs the one who posts. Between two looks it leaves the ready list's cache lines to the writers.
const SEARCHES: u32 = 16;
const SEARCH_REST: u32 = 16;
/// A model's workers do not search: what happens while one does is modelled by itself.
const SEARCH: bool = !cfg!(sinkworks_loom);

/// Every so many tasks a worker looks into the slow lane first, so that a busy fast lane cannot starve it.
const SLOW_FIRST: u32 = 16;

/// Which ready list a task goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Its last turn was short.
    Fast,
    /// Its last turn was long, or it has had none: it may hold a thread for a long time. All such tasks together never hold the last thread.
    Slow,
}

/// A worker's place: where it parks and what it has done.
#[derive(Debug)]
struct Place {
    seat: Seat,
    /// Turns begun by whoever sat here, by lane. One writer.
    turns: [AtomicU64; 2],
    /// What the turn that is running counts as: `NO_TURN`, `FAST_TURN` or `SLOW_TURN`.
    turn: AtomicU8,
}

const NO_TURN: u8 = 0;
const FAST_TURN: u8 = 1;
const SLOW_TURN: u8 = 2;

/// What a worker carries from one call of [`Scheduler::next`] to the next.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    place: usize,
    /// It holds one of the `SEARCHING` counts.
    searching: bool,
    /// It was parked since its last task, or has had none.
    parked: bool,
    /// It has put its own task back, and has looked for no sleeper.
    reposted: bool,
    picks: u32,
}

impl Worker {
    pub(crate) fn new(place: usize) -> Self {
        // As if it had been parked: a worker that finds tasks when it begins, and nobody else parked, is as much the last one as one that wakes up.
        Self { place, parked: !mutation!("pool_new_worker_watches"), ..Self::default() }
    }
}

#[cfg(sinkworks_loom)]
impl Worker {
    /// As if it had taken fast tasks for a while, so that it looks for a slow one next.
    pub(crate) fn seem_slow_first(&mut self) {
        self.picks = SLOW_FIRST - 1;
    }
}

/// What a worker is to do.
#[derive(Debug)]
pub(crate) enum Next<T> {
    Run {
        task: T,
        lane: Lane,
        /// If this turn blocks, perhaps only growth can help: nobody else is parked, or it has the last slot of the slow lane.
        watch: bool,
    },
    /// It was parked for longer than it is kept.
    Retire,
    Stop,
}

#[derive(Debug)]
pub(crate) struct Scheduler<T> {
    fast: SegQueue<T>,
    slow: SegQueue<T>,
    sleepers: CachePadded<Sleepers>,
    places: Box<[CachePadded<Place>]>,
    threads: AtomicUsize,
    /// Tasks of the slow lane that are running, and tasks of the fast lane that turned out to be slow.
    slow_running: AtomicUsize,
    stop: AtomicUsize,
    wait: WaitStrategy,
}

/// What a wake moves, on one cache line for a pool of up to 64 places.
#[derive(Debug, Default)]
struct Sleepers {
    /// How many workers search, how many are parked.
    sleep: AtomicU64,
    wakeups: AtomicU64,
    /// A bit per place: set while its worker is parked and nobody has claimed to wake it.
    parked: AtomicU64,
    /// The same for the places after these.
    more_parked: Box<[AtomicU64]>,
}

impl Sleepers {
    fn new(places: usize) -> Self {
        let more_parked = (1..places.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { more_parked, ..Self::default() }
    }

    /// The words of bits, each with the place of its first bit.
    fn parked(&self) -> impl Iterator<Item = (usize, &AtomicU64)> {
        (0..).step_by(64).zip(std::iter::once(&self.parked).chain(&self.more_parked))
    }

    /// The word and the bit of a place.
    fn parked_at(&self, place: usize) -> (&AtomicU64, u64) {
        let word = place.checked_sub(64).map_or(&self.parked, |after| &self.more_parked[after / 64]);
        (word, 1 << (place % 64))
    }
}

impl<T> Scheduler<T> {
    pub(crate) fn new(places: usize, wait: WaitStrategy) -> Self {
        let place = || Place {
            seat: Seat::default(),
            turns: [AtomicU64::new(0), AtomicU64::new(0)],
            turn: AtomicU8::new(NO_TURN),
        };
        Self {
            fast: SegQueue::new(),
            slow: SegQueue::new(),
            sleepers: CachePadded::new(Sleepers::new(places)),
            places: (0..places).map(|_| CachePadded::new(place())).collect(),
            threads: AtomicUsize::new(0),
            slow_running: AtomicUsize::new(0),
            stop: AtomicUsize::new(0),
            wait,
        }
    }

    /// Makes a task ready. Makes a system call only if it is the one that wakes a parked worker, and waits for no lock but that of a seat which is just being
    /// taken. Where workers poll it wakes nobody: every worker that waits looks by itself.
    pub(crate) fn post(&self, task: T, lane: Lane) {
        self.push(task, lane);
        if matches!(self.wait, WaitStrategy::Poll { .. }) {
            return;
        }
        // Pairs with the fence in `park`: either this sees the sleeper, or the sleeper sees the task.
        if !mutation!("pool_post_fence") {
            fence(Ordering::SeqCst);
        }
        if lane == Lane::Fast || self.has_slow_slot() {
            self.wake_one();
        }
    }

    fn push(&self, task: T, lane: Lane) {
        match lane {
            Lane::Fast => self.fast.push(task),
            Lane::Slow => self.slow.push(task),
        }
    }

    /// Makes the task ready again that this worker has just run. It wakes nobody, since the worker itself looks for work next: a queue that is never empty
    /// would otherwise have its drain, and the events, move from one processor to another all the time. If it is not this task that the worker takes next, it
    /// [looks for a sleeper](Self::found) then.
    pub(crate) fn repost(&self, worker: &mut Worker, task: T, lane: Lane) {
        worker.reposted = true;
        self.push(task, lane);
    }

    /// Wakes a parked worker, unless one is searching already or none is parked.
    fn wake_one(&self) {
        loop {
            let word = self.sleepers.sleep.load(Ordering::Relaxed);
            let searched = searching(word) != 0 && !mutation!("pool_one_wake_at_a_time");
            let all_awake = idle(word) == 0 && !mutation!("pool_wakes_who_is_parked");
            if searched || all_awake {
                return;
            }
            if self.wake_claimed(word) {
                return;
            }
            // Somebody else has moved the word, or a worker is between taking its bit back and saying that it is not idle: two of its
            // instructions.
            spin_loop();
        }
    }

    /// Tries to become the one who wakes. `false`: look at the sleep word again.
    #[cold]
    #[inline(never)]
    fn wake_claimed(&self, word: u64) -> bool {
        // The searching count is taken on behalf of the worker that will be woken. AcqRel: see `park`.
        if self.sleepers.sleep.compare_exchange(word, word + SEARCHING, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        for (first, bits) in self.sleepers.parked() {
            let mut seen = bits.load(Ordering::Relaxed);
            while seen != 0 {
                let bit = seen & seen.wrapping_neg();
                // AcqRel: the woken worker sees what was posted; this sees the worker's park.
                if bits.fetch_and(!bit, Ordering::AcqRel) & bit != 0 || mutation!("pool_wake_claims_the_bit") {
                    self.sleepers.sleep.fetch_sub(IDLE, Ordering::AcqRel);
                    self.sleepers.wakeups.fetch_add(1, Ordering::Relaxed);
                    self.places[first + bit.trailing_zeros() as usize].seat.unpark();
                    return true;
                }
                seen = bits.load(Ordering::Relaxed);
            }
        }
        // Everyone who was parked has found work by itself. Others have posted meanwhile and left it to us: look again.
        self.sleepers.sleep.fetch_sub(SEARCHING, Ordering::AcqRel);
        // Pairs with the fence in `post`: either that poster sees that nobody searches, or its task is found here.
        if !mutation!("pool_failed_wake_fence") {
            fence(Ordering::SeqCst);
        }
        mutation!("pool_failed_wake_recheck") || !self.has_work()
    }

    /// What the worker does next, parking until there is something. `keep`: how long it may stay parked, `None` for ever; the caller's `expired`
    /// says whether that time is over.
    pub(crate) fn next(&self, worker: &mut Worker, keep: Option<Duration>, expired: impl Fn() -> bool) -> Next<T> {
        loop {
            if self.stop.load(Ordering::Acquire) != 0 && !mutation!("pool_next_sees_stop") {
                return Next::Stop;
            }
            if let Some((task, lane)) = self.take(worker) {
                return self.found(worker, task, lane);
            }
            if self.search(worker) {
                continue;
            }
            if self.park(worker, keep, &expired) {
                return Next::Retire;
            }
        }
    }

    fn found(&self, worker: &mut Worker, task: T, lane: Lane) -> Next<T> {
        let hands_on = worker.searching && !mutation!("pool_hand_on");
        if worker.searching {
            worker.searching = false;
            let before = self.sleepers.sleep.fetch_sub(SEARCHING, Ordering::AcqRel);
            debug_assert!(searching(before) > 0, "a search is given back that nobody has begun");
        }
        // Before it runs the task, which may block: whoever posted while this worker searched has left the rest to it, and so has this worker itself when it
        // put its own task back. The fence pairs with the one in `park`.
        if hands_on || (worker.reposted && !mutation!("pool_repost_hands_on")) {
            worker.reposted = false;
            if !mutation!("pool_hand_on_fence") {
                fence(Ordering::SeqCst);
            }
            if self.has_work() {
                self.wake_one();
            }
        }
        // Read after the claim of the slot, so that the claim of the last one never overlooks the others.
        let last_slot = lane == Lane::Slow && !self.has_slow_slot();
        let watch = !mutation!("pool_watch")
            && (last_slot || (worker.parked && idle(self.sleepers.sleep.load(Ordering::Relaxed)) == 0));
        worker.parked = false;
        Next::Run { task, lane, watch }
    }

    fn take(&self, worker: &mut Worker) -> Option<(T, Lane)> {
        worker.picks = worker.picks.wrapping_add(1);
        if worker.picks % SLOW_FIRST == 0 {
            if let Some(task) = self.take_slow() {
                return Some((task, Lane::Slow));
            }
        }
        if let Some(task) = self.fast.pop() {
            return Some((task, Lane::Fast));
        }
        self.take_slow().map(|task| (task, Lane::Slow))
    }

    /// Takes a slow task and a slot for it. A slot that was taken for nothing is given back; whoever does so looks for work
    /// once more before it parks, so that nobody is turned away by it for good.
    fn take_slow(&self) -> Option<T> {
        if self.slow.is_empty() {
            return None;
        }
        loop {
            let running = self.slow_running.load(Ordering::Relaxed);
            if running >= self.slow_slots() && !mutation!("pool_slow_bound") {
                return None;
            }
            // By compare-exchange, so that the count never exceeds the slots even for a moment.
            if self
                .slow_running
                .compare_exchange_weak(running, running + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                break;
            }
        }
        let task = self.slow.pop();
        if task.is_none() && !mutation!("pool_slot_for_nothing") {
            self.slow_running.fetch_sub(1, Ordering::AcqRel);
        }
        task
    }

    /// Looks for a while before parking, as the only searcher. Whether there is something to take.
    fn search(&self, worker: &mut Worker) -> bool {
        let spin = match self.wait {
            WaitStrategy::Park => Duration::ZERO,
            WaitStrategy::SpinThenPark { spin } => spin,
            // Nobody need be kept from a wake, and nobody from his processor.
            WaitStrategy::Poll { .. } => return false,
        };
        if !SEARCH {
            return false;
        }
        if !worker.searching {
            let word = self.sleepers.sleep.load(Ordering::Relaxed);
            worker.searching = searching(word) == 0
                && self
                    .sleepers
                    .sleep
                    .compare_exchange(word, word + SEARCHING, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok();
        }
        if !worker.searching {
            return false;
        }
        let began = (!spin.is_zero()).then(now);
        loop {
            for _ in 0..SEARCHES {
                (0..SEARCH_REST).for_each(|_| spin_loop());
                if self.has_work() || self.stop.load(Ordering::Relaxed) != 0 {
                    return true;
                }
            }
            if began.is_none_or(|began| now().saturating_duration_since(began) >= spin) {
                return false;
            }
        }
    }

    /// Parks until woken. Whether the worker is to retire.
    fn park(&self, worker: &mut Worker, keep: Option<Duration>, expired: &impl Fn() -> bool) -> bool {
        let (bits, bit) = self.sleepers.parked_at(worker.place);
        // The bit first: whoever sees this worker counted as idle can also find it.
        bits.fetch_or(bit, Ordering::AcqRel);
        let searched = if worker.searching { SEARCHING } else { 0 };
        worker.searching = false;
        // It fences and looks for work below.
        worker.reposted = false;
        worker.parked = true;
        // In one step because that is cheaper. Two would do as well, in either order: both are before the fence.
        self.sleepers.sleep.fetch_add(IDLE - searched, Ordering::AcqRel);
        // Pairs with the fence in `post`.
        if !mutation!("pool_park_fence") {
            fence(Ordering::SeqCst);
        }
        let work = !mutation!("pool_park_recheck") && self.has_work();
        let stopped = !mutation!("pool_park_sees_stop") && self.stop.load(Ordering::Relaxed) != 0;
        if (work || stopped) && self.unpark_myself(bits, bit) {
            return false;
        }
        self.stay_parked(worker, keep, expired)
    }

    /// Until somebody has claimed to wake this worker, which then searches, or it has found something by itself. Whether its time is over instead.
    fn stay_parked(&self, worker: &mut Worker, keep: Option<Duration>, expired: &impl Fn() -> bool) -> bool {
        let (bits, bit) = self.sleepers.parked_at(worker.place);
        let poll = match self.wait {
            WaitStrategy::Poll { interval } => Some(interval),
            WaitStrategy::Park | WaitStrategy::SpinThenPark { .. } => None,
        };
        // Cleared by whoever wakes this worker; an unpark without that is a leftover.
        while bits.load(Ordering::Acquire) & bit != 0 {
            // Before it parks too: it may have been kept for long enough by turns that others could have run.
            if expired() && (self.unpark_myself(bits, bit) || mutation!("pool_retire_unclaimed")) {
                return true;
            }
            self.places[worker.place].seat.park(poll.or(keep));
            if poll.is_some() && self.has_work() && !mutation!("pool_poll_looks") && self.unpark_myself(bits, bit) {
                return false;
            }
            if mutation!("pool_parked_until_claimed") {
                break;
            }
        }
        worker.searching = true;
        false
    }

    /// Takes this worker's bit back. On failure someone has claimed to wake it.
    fn unpark_myself(&self, bits: &AtomicU64, bit: u64) -> bool {
        let mine = bits.fetch_and(!bit, Ordering::AcqRel) & bit != 0;
        if mine {
            self.sleepers.sleep.fetch_sub(IDLE, Ordering::AcqRel);
        }
        mine
    }

    /// Whether there is a task that a worker may take now.
    fn has_work(&self) -> bool {
        !self.fast.is_empty() || (!self.slow.is_empty() && self.has_slow_slot())
    }

    /// How many slow tasks may run at once: one thread is left for the others.
    fn slow_slots(&self) -> usize {
        Self::slow_slots_of(self.threads())
    }

    fn slow_slots_of(threads: usize) -> usize {
        let reserve = usize::from(!mutation!("pool_slow_reserve"));
        threads.saturating_sub(reserve).max(1)
    }

    /// Whether the pool would be at ease without the worker that asks, which is parked. At this moment: in case of what comes right after, the worker arms the
    /// keeper when it has gone.
    pub(crate) fn can_spare_one(&self) -> bool {
        self.idle() > 1
            && self.slow_running.load(Ordering::Relaxed) < Self::slow_slots_of(self.threads().saturating_sub(1))
    }

    fn has_slow_slot(&self) -> bool {
        self.slow_running.load(Ordering::Relaxed) < self.slow_slots()
    }

    /// A turn begins.
    pub(crate) fn begin_turn(&self, worker: &Worker, lane: Lane) {
        let place = &self.places[worker.place];
        let (turn, count) = match lane {
            Lane::Fast => (FAST_TURN, &place.turns[0]),
            Lane::Slow => (SLOW_TURN, &place.turns[1]),
        };
        place.turn.store(turn, Ordering::Relaxed);
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The turn is over: a slot of the slow lane is given back.
    ///
    /// Nobody needs to be woken for the slot. This worker looks for work next, and before it parks it fences and looks again, so it finds a
    /// slow task that was posted when there was no slot. If it takes a fast one instead, that one's post has woken a worker or relied on
    /// a searching one, who found the fast task gone, hence sees this slot free, and looks again before it parks.
    pub(crate) fn end_turn(&self, worker: &Worker) {
        if self.places[worker.place].turn.swap(NO_TURN, Ordering::AcqRel) == SLOW_TURN {
            let before = self.slow_running.fetch_sub(1, Ordering::AcqRel);
            debug_assert!(before > 0, "a slot is given back that was not taken");
        }
    }

    /// Counts the fast turn that runs at `place` as a slow one from now on, if one does.
    pub(crate) fn call_slow(&self, place: usize) {
        let turn = &self.places[place].turn;
        // Counted first, so that the end of the turn never gives back what was not taken.
        if mutation!("pool_call_slow_counts_first") {
            if turn.compare_exchange(FAST_TURN, SLOW_TURN, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.slow_running.fetch_add(1, Ordering::AcqRel);
            }
            return;
        }
        self.slow_running.fetch_add(1, Ordering::AcqRel);
        if mutation!("pool_call_slow_by_store") {
            return turn.store(SLOW_TURN, Ordering::Release);
        }
        if turn.compare_exchange(FAST_TURN, SLOW_TURN, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            self.slow_running.fetch_sub(1, Ordering::AcqRel);
            if !mutation!("pool_call_slow_fence") {
                fence(Ordering::SeqCst);
            }
            if self.has_work() && !mutation!("pool_call_slow_wakes") {
                self.wake_one();
            }
        }
    }

    /// Turns begun at `place`, by lane, and whether one runs in the fast lane.
    pub(crate) fn turns(&self, place: usize) -> ([u64; 2], bool) {
        let place = &self.places[place];
        let turns = [place.turns[0].load(Ordering::Relaxed), place.turns[1].load(Ordering::Relaxed)];
        (turns, place.turn.load(Ordering::Relaxed) == FAST_TURN)
    }

    /// The calling thread takes its place.
    pub(crate) fn sit(&self, worker: &Worker) {
        self.places[worker.place].seat.sit();
    }

    /// A thread has come, before it begins to run.
    pub(crate) fn add_thread(&self) {
        self.threads.fetch_add(1, Ordering::AcqRel);
    }

    /// A thread has gone.
    pub(crate) fn remove_thread(&self) {
        self.threads.fetch_sub(1, Ordering::AcqRel);
    }

    /// Ends every worker once it is done with its turn.
    pub(crate) fn stop(&self) {
        // Needs no fence: this and a worker that parks change the same word of `parked`. Whoever is second sees what the other did before.
        self.stop.store(1, Ordering::Release);
        for place in &self.places {
            place.seat.unpark();
        }
        if mutation!("pool_stop_clears_bits") {
            return;
        }
        for (first, bits) in self.sleepers.parked() {
            let seen = bits.swap(0, Ordering::AcqRel);
            self.sleepers.sleep.fetch_sub(IDLE * u64::from(seen.count_ones()), Ordering::AcqRel);
            (0..64).filter(|i| seen & (1 << i) != 0).for_each(|i| self.places[first + i].seat.unpark());
        }
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.load(Ordering::Relaxed)
    }

    pub(crate) fn idle(&self) -> usize {
        usize::try_from(idle(self.sleepers.sleep.load(Ordering::Acquire))).unwrap_or(usize::MAX)
    }

    pub(crate) fn wakeups(&self) -> u64 {
        self.sleepers.wakeups.load(Ordering::Relaxed)
    }

    /// Whether a new task of either lane would be run at once: someone is parked, and a slow task would get a slot.
    pub(crate) fn is_at_ease(&self) -> bool {
        // By read-modify-write, for the worker that has just left and so taken a slot away: if a claim of the last slot comes
        // before this, it is seen here; if it comes after, the claimer sees that the thread is gone. Acquire would not do.
        let running = if mutation!("pool_at_ease_by_load") {
            self.slow_running.load(Ordering::Acquire)
        } else {
            self.slow_running.fetch_add(0, Ordering::AcqRel)
        };
        self.idle() > 0 && running < self.slow_slots()
    }

    /// Whether fast tasks wait.
    pub(crate) fn fast_waits(&self) -> bool {
        !self.fast.is_empty()
    }

    /// Whether slow tasks wait that may not run, since too many others do.
    pub(crate) fn slow_waits(&self) -> bool {
        !self.slow.is_empty() && !self.has_slow_slot()
    }
}

#[cfg(sinkworks_loom)]
impl<T> Scheduler<T> {
    /// No model asks.
    pub(crate) fn waiting(&self) -> [usize; 2] {
        [0; 2]
    }

    /// As if a worker had been about to park, and had just taken its bit back.
    pub(crate) fn seem_waking(&self) {
        self.sleepers.sleep.fetch_add(IDLE, Ordering::AcqRel);
    }

    /// What a poster does whose task somebody else has taken by now.
    pub(crate) fn wake_in_vain(&self) {
        self.wake_one();
    }

    /// As if the worker had been woken.
    pub(crate) fn seem_searching(&self, worker: &mut Worker) {
        self.sleepers.sleep.fetch_add(SEARCHING, Ordering::AcqRel);
        worker.searching = true;
    }

    /// As if a worker had parked at `place`.
    pub(crate) fn seem_asleep(&self, place: usize) {
        let (bits, bit) = self.sleepers.parked_at(place);
        bits.fetch_or(bit, Ordering::AcqRel);
        self.sleepers.sleep.fetch_add(IDLE, Ordering::AcqRel);
    }

    /// What that worker does next.
    pub(crate) fn next_asleep(&self, worker: &mut Worker) -> Next<T> {
        self.stay_parked(worker, None, &|| false);
        self.next(worker, None, || false)
    }

    /// A parked worker goes on.
    pub(crate) fn seem_woken(&self) {
        self.sleepers.sleep.fetch_sub(IDLE, Ordering::AcqRel);
    }

    pub(crate) fn slow_running(&self) -> usize {
        self.slow_running.load(Ordering::Acquire)
    }

    /// As if a worker were parked that nobody wakes.
    pub(crate) fn seem_parked(&self) {
        self.sleepers.sleep.fetch_add(IDLE | SEARCHING, Ordering::AcqRel);
    }
}

#[cfg(not(sinkworks_loom))]
impl<T> Scheduler<T> {
    /// Tasks that wait for a worker, about, in the fast lane and in the slow one: for a scrape, not for a decision.
    pub(crate) fn waiting(&self) -> [usize; 2] {
        [self.fast.len(), self.slow.len()]
    }

    /// Whether every worker is parked and nothing waits for one, at this moment.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn is_quiet(&self) -> bool {
        let word = self.sleepers.sleep.load(Ordering::Acquire);
        idle(word) == self.threads() as u64 && searching(word) == 0 && self.fast.is_empty() && self.slow.is_empty()
    }
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_a_bit_of_its_own() {
        for places in [1, 63, 64, 65, 128, 129] {
            let sleepers = Sleepers::new(places);
            assert_eq!(sleepers.parked().count(), places.div_ceil(64));
            for place in 0..places {
                let (word, bit) = sleepers.parked_at(place);
                let known = sleepers.parked().find(|(_, known)| std::ptr::eq(*known, word));
                let first = known.map(|(first, _)| first);
                assert_eq!(first.map(|first| first + bit.trailing_zeros() as usize), Some(place), "of {places}");
            }
        }
    }

    #[test]
    fn a_worker_is_spared_where_another_is_parked_and_a_slow_slot_stays_free() {
        let spared = |threads: usize, idle: u64, slow_running: usize| {
            let scheduler = Scheduler::<()>::new(threads, WaitStrategy::Park);
            (0..threads).for_each(|_| scheduler.add_thread());
            scheduler.sleepers.sleep.store(idle * IDLE, Ordering::Relaxed);
            scheduler.slow_running.store(slow_running, Ordering::Relaxed);
            scheduler.can_spare_one()
        };
        assert!(spared(2, 2, 0) && spared(3, 2, 0) && spared(4, 2, 1));
        assert!(!spared(2, 1, 0) && !spared(4, 1, 1), "nobody else is parked");
        assert!(!spared(2, 2, 1) && !spared(3, 2, 1) && !spared(4, 2, 2), "no slot without its thread");
    }
}
