//! What a case is: a chain, and what is done to it.

use proptest::collection::vec;
use proptest::prelude::*;

/// A stage and what is below it.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Leaf,
    Channel {
        capacity: Option<u64>,
        policy: Policy,
    },
    Queue(Options, Box<Node>),
    Retry(Patience, Box<Node>),
    /// Rejects every third event.
    Filter(Box<Node>),
    /// Takes its time over each event.
    Slow(Box<Node>),
    /// Waits for so many milliseconds.
    Limit(u64, Box<Node>),
    Fallback {
        primary: Box<Node>,
        secondary: Box<Node>,
        permanent_too: bool,
    },
    Fan {
        best_effort: Vec<Node>,
        required: Vec<Node>,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) capacity: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) policy: Policy,
    pub(crate) dead_letters: bool,
    pub(crate) stamped: bool,
    /// So many events in one write, and how those that fail are repeated.
    pub(crate) batch: Option<(usize, Patience)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Block,
    BlockFor,
    Reject,
    DropNewest,
    DropOldest,
    Disconnect,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    Breaker,
    Backoff(u64),
    Both(u64),
    /// Gives up.
    Twice,
}

/// What a leaf does with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Take,
    Fail,
    FailForGood,
    /// Takes it and fails.
    LoseAnswer,
    Panic,
    Close,
    /// Keeps it waiting until the mood changes.
    Hold,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    Drain,
    /// In so many milliseconds.
    Until(u64),
    Abort,
}

/// Numbers of components are taken modulo how many there are.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// So many events by this writer, who first offers the one again that it still holds.
    Write {
        writer: u8,
        events: u8,
        owned: bool,
    },
    /// The writer throws away the event that it holds.
    GiveUp {
        writer: u8,
    },
    Mood {
        leaf: usize,
        mood: Mood,
    },
    Advance(u64),
    Rest,
    Receive {
        channel: usize,
        events: u8,
    },
    DropReceiver {
        channel: usize,
    },
    Add {
        fan: usize,
        node: Node,
        required: bool,
    },
    Remove {
        fan: usize,
        child: usize,
    },
    AddAgain {
        fan: usize,
        child: usize,
    },
    CloseQueue {
        queue: usize,
        how: How,
    },
    CloseRoot(How),
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) root: Node,
    pub(crate) steps: Vec<Step>,
    /// Whether the pool comes to rest after each step.
    pub(crate) resting: bool,
    /// Whether leaves take what is left before the end.
    pub(crate) recovering: bool,
    /// How it ends: by a close, or by dropping all handles.
    pub(crate) end: Option<How>,
    /// Events of each thread, where there are threads.
    pub(crate) writers: Vec<u8>,
}

fn policy() -> impl Strategy<Value = Policy> {
    use Policy::{Block, BlockFor, Disconnect, DropNewest, DropOldest, Reject};
    prop::sample::select(vec![Block, BlockFor, Reject, DropNewest, DropOldest, Disconnect])
}

fn capacity() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![2 => Just(None), 3 => (1..6_u64).prop_map(Some)]
}

fn options() -> impl Strategy<Value = Options> {
    let bytes = prop_oneof![3 => Just(None), 1 => (4..20_u64).prop_map(Some)];
    let batch = prop_oneof![2 => Just(None), 1 => (1..6_usize, strategy()).prop_map(Some)];
    (capacity(), bytes, policy(), prop::bool::weighted(0.7), any::<bool>(), batch).prop_map(
        |(capacity, bytes, policy, dead_letters, stamped, batch)| {
            let full = capacity.unwrap_or(u64::MAX);
            let batch = batch.map(|(events, patience)| (events.min(usize::try_from(full).unwrap()), patience));
            Options { capacity, bytes, policy, dead_letters, stamped, batch }
        },
    )
}

fn strategy() -> impl Strategy<Value = Patience> {
    prop_oneof![
        Just(Patience::Breaker),
        any::<u64>().prop_map(Patience::Backoff),
        any::<u64>().prop_map(Patience::Both),
        Just(Patience::Twice)
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let end = prop_oneof![
        3 => Just(Node::Leaf),
        1 => (capacity(), policy()).prop_map(|(capacity, policy)| Node::Channel { capacity, policy })
    ];
    end.prop_recursive(4, 10, 3, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            4 => (options(), boxed.clone()).prop_map(|(options, below)| Node::Queue(options, below)),
            3 => (strategy(), boxed.clone()).prop_map(|(strategy, below)| Node::Retry(strategy, below)),
            1 => boxed.clone().prop_map(Node::Filter),
            1 => boxed.clone().prop_map(Node::Slow),
            1 => (0..500_u64, boxed.clone()).prop_map(|(ms, below)| Node::Limit(ms, below)),
            2 => (boxed.clone(), boxed, any::<bool>()).prop_map(|(primary, secondary, permanent_too)| {
                Node::Fallback { primary, secondary, permanent_too }
            }),
            3 => (vec(inner.clone(), 0..3), vec(inner, 0..2))
                .prop_map(|(best_effort, required)| Node::Fan { best_effort, required }),
        ]
    })
}

fn small_node() -> impl Strategy<Value = Node> {
    let leaf = Just(Box::new(Node::Leaf));
    prop_oneof![
        2 => (options(), leaf).prop_map(|(options, below)| Node::Queue(options, below)),
        1 => Just(Node::Leaf),
        1 => (capacity(), policy()).prop_map(|(capacity, policy)| Node::Channel { capacity, policy })
    ]
}

fn mood() -> impl Strategy<Value = Mood> {
    use Mood::{Close, Fail, FailForGood, Hold, LoseAnswer, Panic, Take};
    prop_oneof![
        6 => Just(Take),
        5 => Just(Fail),
        1 => Just(FailForGood),
        2 => Just(LoseAnswer),
        1 => Just(Panic),
        1 => Just(Close),
        2 => Just(Hold)
    ]
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![3 => Just(How::Drain), 3 => (0..2000_u64).prop_map(How::Until), 1 => Just(How::Abort)]
}

fn step() -> impl Strategy<Value = Step> {
    let index = 0..8_usize;
    prop_oneof![
        40 => (0..3_u8, 1..6_u8, any::<bool>())
            .prop_map(|(writer, events, owned)| Step::Write { writer, events, owned }),
        2 => (0..3_u8).prop_map(|writer| Step::GiveUp { writer }),
        14 => (index.clone(), mood()).prop_map(|(leaf, mood)| Step::Mood { leaf, mood }),
        10 => (0..1500_u64).prop_map(Step::Advance),
        6 => Just(Step::Rest),
        8 => (index.clone(), 1..8_u8).prop_map(|(channel, events)| Step::Receive { channel, events }),
        1 => index.clone().prop_map(|channel| Step::DropReceiver { channel }),
        4 => (index.clone(), small_node(), any::<bool>())
            .prop_map(|(fan, node, required)| Step::Add { fan, node, required }),
        3 => (index.clone(), index.clone()).prop_map(|(fan, child)| Step::Remove { fan, child }),
        2 => (index.clone(), index.clone()).prop_map(|(fan, child)| Step::AddAgain { fan, child }),
        2 => (index, how()).prop_map(|(queue, how)| Step::CloseQueue { queue, how }),
        1 => how().prop_map(Step::CloseRoot),
    ]
}

fn plan(
    root: impl Strategy<Value = Node>,
    steps: usize,
    writers: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = Plan> {
    let end = prop_oneof![4 => how().prop_map(Some), 1 => Just(None)];
    (root, vec(step(), 1..steps), any::<bool>(), any::<bool>(), end, writers).prop_map(
        |(root, steps, resting, recovering, end, writers)| Plan { root, steps, resting, recovering, end, writers },
    )
}

fn queue() -> impl Strategy<Value = Node> {
    (options(), node()).prop_map(|(options, below)| Node::Queue(options, Box::new(below)))
}

/// Plans whose writers take turns.
pub(crate) fn plans(steps: usize) -> impl Strategy<Value = Plan> {
    plan(prop_oneof![2 => queue(), 1 => node()], steps, Just(Vec::new()))
}

/// Plans whose writers are threads. They block, so that what they write to is a queue, or a broadcaster of queues.
pub(crate) fn threaded(steps: usize) -> impl Strategy<Value = Plan> {
    let fan = (vec(queue(), 1..3), vec(queue(), 0..2))
        .prop_map(|(best_effort, required)| Node::Fan { best_effort, required });
    plan(prop_oneof![2 => queue(), 1 => fan], steps, vec(1..40_u8, 2..4))
}
