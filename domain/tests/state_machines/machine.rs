//! Gives an aggregate and the model of its rules the same commands, and compares them after each.
//!
//! The aggregate is driven as the store drives it: it decides, its events become rows, the rows are read, and what
//! was read is applied. Compared are the answer (the same events, or the same refusal and no event), also that of
//! a state that was a snapshot; what can be seen of the state; the names that are held; and the state itself with one
//! that was built anew: from the first event, and from a snapshot in the middle.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use chrono::DateTime;
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use domain::claim::{ClaimAct, ClaimScope};
use domain::envelope::Metadata;
use domain::fact::{Stored, StoredEvent};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use uuid::Uuid;

/// The id of the aggregate.
pub(crate) const ID: Uuid = Uuid::from_u128(0xa66);

pub(crate) type Command<M> = <<M as Model>::Of as Aggregate>::Command;
pub(crate) type Event<M> = <<M as Model>::Of as Aggregate>::Event;
/// The events that a command leads to, or its refusal.
pub(crate) type Answer<M> = Result<Vec<Event<M>>, <<M as Model>::Of as Aggregate>::Error>;

/// What the rules say of one aggregate; at first there is none.
pub(crate) trait Model: Clone + Debug + Default + 'static {
    /// The aggregate under test.
    type Of: Stored<Id: From<Uuid>> + Aggregate<Command: Debug, Error: Clone + PartialEq>;

    /// Commands that begin it.
    fn births() -> BoxedStrategy<Command<Self>>;

    /// All other commands, with few values, so that they meet; aimed so that most of them are about something.
    fn commands(&self) -> BoxedStrategy<Command<Self>>;

    /// Whether it has begun.
    fn is_born(&self) -> bool;

    /// Follows a command, and answers what it has to lead to.
    fn obey(&mut self, command: Command<Self>) -> Answer<Self>;

    /// The names that it holds, each as [`name`] writes it.
    fn names(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }

    /// Compares what can be seen of the state, and checks what must hold for every history.
    fn check(&self, state: &Self::Of, history: &[Event<Self>]);
}

/// A name that is held.
pub(crate) fn name(scope: ClaimScope, key: &str) -> String {
    format!("{} {key}", scope.as_str())
}

/// The model and what it said of the last command.
#[derive(Clone, Debug)]
pub(crate) struct Reference<M: Model> {
    model: M,
    said: Answer<M>,
}

/// A model and its aggregate, side by side.
pub(crate) struct Machine<M>(PhantomData<M>);

impl<M: Model> ReferenceStateMachine for Machine<M> {
    type State = Reference<M>;
    type Transition = Command<M>;

    fn init_state() -> BoxedStrategy<Reference<M>> {
        Just(Reference { model: M::default(), said: Ok(vec![]) }).boxed()
    }

    fn transitions(state: &Reference<M>) -> BoxedStrategy<Command<M>> {
        let births = if state.model.is_born() { 1 } else { 40 };
        prop_oneof![births => M::births(), 15 => state.model.commands()].boxed()
    }

    fn apply(mut state: Reference<M>, command: &Command<M>) -> Reference<M> {
        state.said = state.model.obey(command.clone());
        state
    }
}

/// The aggregate and its log.
pub(crate) struct System<M: Model> {
    state: M::Of,
    rows: Vec<StoredEvent>,
    /// The rows as they were read.
    history: Vec<Event<M>>,
    /// The state after each event as a snapshot keeps it; the first is that of no event.
    snapshots: Vec<String>,
    /// The names taken and not freed since.
    held: BTreeSet<String>,
}

impl<M: Model> StateMachineTest for Machine<M> {
    type SystemUnderTest = System<M>;
    type Reference = Self;

    fn init_test(_: &Reference<M>) -> System<M> {
        let state = M::Of::default();
        let snapshots = vec![written(&state)];
        System { state, rows: vec![], history: vec![], snapshots, held: BTreeSet::new() }
    }

    fn apply(mut system: System<M>, rules: &Reference<M>, command: Command<M>) -> System<M> {
        let snapshot: M::Of = serde_json::from_str(system.snapshots.last().unwrap()).unwrap();
        let (answer, decided) = decide::<M>(system.state.clone(), command.clone());
        assert_eq!(answer, rules.said, "the answer, and what the rules say");
        assert_eq!(decide::<M>(snapshot, command).0, answer, "the answer of the state that was a snapshot");
        for event in answer.unwrap_or_default() {
            system.append(event);
        }
        assert_eq!(written(&decided), written(&system.state), "the state that decided, and the stored one");
        system
    }

    fn check_invariants(system: &System<M>, rules: &Reference<M>) {
        assert_eq!(system.held, rules.model.names(), "names that are held, and those of the rules");
        rules.model.check(&system.state, &system.history);
        let count = system.history.len();
        for from in [0, count / 2] {
            let mut anew: M::Of = serde_json::from_str(&system.snapshots[from]).unwrap();
            for event in &system.history[from..] {
                anew.apply(event.clone());
            }
            assert_eq!(written(&anew), system.snapshots[count], "the state anew from event {from}");
        }
    }

    fn teardown(system: System<M>, _: Reference<M>) {
        let read: Vec<Event<M>> = system.rows.iter().map(|row| row.event::<M::Of>().unwrap()).collect();
        assert_eq!(read, system.history, "the log is read as it was the first time");
    }
}

impl<M: Model> System<M> {
    /// Stores an event, reads it again and applies what was read.
    fn append(&mut self, event: Event<M>) {
        let row = self.row(&event);
        let read = row.event::<M::Of>().unwrap();
        assert_eq!(read, event, "an event is read as it was written");
        let id = M::Of::fact(ID.into(), read.clone());
        assert_eq!(row.clone().read().unwrap().fact, id, "the feed reads it as the aggregate does");
        for claim in <M::Of as Stored>::claims(ID.into(), &read) {
            let name = name(claim.scope, &claim.key);
            match claim.act {
                ClaimAct::Take => assert!(self.held.insert(name.clone()), "{name} is taken twice"),
                ClaimAct::Free => assert!(self.held.remove(&name), "{name} is freed and was not held"),
            }
        }
        self.state.apply(read.clone());
        self.rows.push(row);
        self.history.push(read);
        self.snapshots.push(written(&self.state));
    }

    fn row(&self, event: &Event<M>) -> StoredEvent {
        let number = i64::try_from(self.rows.len()).unwrap() + 1;
        StoredEvent {
            position: number,
            event_id: Uuid::from_u128(number.unsigned_abs().into()).into(),
            recorded_at: DateTime::UNIX_EPOCH,
            team_id: None,
            aggregate_type: M::Of::TYPE.to_owned(),
            aggregate_id: ID.to_string(),
            sequence: number,
            event_type: event.event_type(),
            event_version: event.event_version(),
            payload: serde_json::to_string(event).unwrap().into(),
            metadata: Metadata::default(),
        }
    }
}

/// The answer to a command, and the state that it leaves.
fn decide<M: Model>(mut state: M::Of, command: Command<M>) -> (Answer<M>, M::Of) {
    let sink = EventSink::default();
    let answer = at_once(state.handle(command, &(), &sink));
    let events = at_once(sink.collect());
    if answer.is_err() {
        assert_eq!(events, [], "a refused command leaves no event");
    }
    (answer.map(|()| events), state)
}

fn written<A: Aggregate>(state: &A) -> String {
    serde_json::to_string(state).unwrap()
}

/// What a future has at its first step: a decision waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(it) => it,
        Poll::Pending => panic!("a decision waits for nothing"),
    }
}
