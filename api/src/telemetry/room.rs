//! How much of what senders say is in memory at a time. What does not fit is to be sent again later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use domain::ids::ProjectId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{MAX_SENT, MAX_UNPACKED};
use crate::error::ApiError;

/// Bytes of bodies, packed and unpacked, of all requests together.
const BODIES: usize = 48 << 20;
/// Those of one project: the largest body, packed and unpacked, and some.
const OWN_BODIES: usize = MAX_SENT + MAX_UNPACKED + (1 << 20);
/// Bytes of rows that are made of them and not stored yet, of all requests together.
const ROWS: usize = 80 << 20;
/// Bytes of what bodies become while they are read, of all requests together.
pub(super) const READING: usize = 192 << 20;
/// So many bodies are read at a time: meanwhile each of them takes up several times its size.
const READ: usize = 4;
/// So many batches of one project are on their way to the store: those of others are not behind all that it sends.
const WRITTEN: usize = 32;
/// How long a body waits for its turn, and a batch for that of its project.
const PATIENCE: Duration = Duration::from_secs(5);
/// A permit stands for so many bytes.
const UNIT: usize = 1024;
/// From so many projects on, those that send nothing are forgotten.
const MANY: usize = 1000;

/// What all requests share.
pub struct Intake {
    all: Arc<Part>,
    reading: Arc<Semaphore>,
    /// What each project has of it at most, as long as it sends.
    projects: Mutex<HashMap<ProjectId, Weak<Part>>>,
}

/// Room for bodies and rows, and turns.
#[derive(Debug)]
struct Part {
    bodies: Arc<Semaphore>,
    rows: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl Part {
    fn new([bodies, rows, turns, writes]: [usize; 4]) -> Arc<Self> {
        let [bodies, rows, turns, writes] =
            [bodies / UNIT, rows / UNIT, turns, writes].map(|all| Arc::new(Semaphore::new(all)));
        Arc::new(Self { bodies, rows, turns, writes })
    }
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            all: Part::new([BODIES, ROWS, READ, Semaphore::MAX_PERMITS]),
            reading: Arc::new(Semaphore::new(READING / UNIT)),
            projects: Mutex::default(),
        }
    }
}

impl Intake {
    /// Room for one request; nothing is taken yet. No project has all of it.
    pub(crate) fn room(&self, project: Option<ProjectId>) -> Arc<Room> {
        let own = project.map(|project| self.of(project));
        let parts: Vec<&Arc<Part>> = own.iter().chain([&self.all]).collect();
        Arc::new(Room {
            bodies: Share::of(parts.iter().map(|part| part.bodies.clone())),
            rows: Share::of(parts.iter().map(|part| part.rows.clone())),
            reading: Share::of([self.reading.clone()]),
            turns: parts.iter().map(|part| part.turns.clone()).collect(),
            writes: parts.iter().map(|part| part.writes.clone()).collect(),
            _own: own.clone(),
        })
    }

    /// What a project may have: about half of what there is to be had, and one turn less.
    fn of(&self, project: ProjectId) -> Arc<Part> {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = projects.get(&project).and_then(Weak::upgrade) {
            return part;
        }
        if projects.len() >= MANY {
            projects.retain(|_, part| part.strong_count() > 0);
        }
        let part = Part::new([OWN_BODIES, ROWS / 2, READ - 1, WRITTEN]);
        projects.insert(project, Arc::downgrade(&part));
        part
    }
}

/// What one request has in memory. It is free again when the request is answered.
#[derive(Debug)]
pub(crate) struct Room {
    bodies: Share,
    rows: Share,
    reading: Share,
    turns: Vec<Arc<Semaphore>>,
    writes: Vec<Arc<Semaphore>>,
    /// Kept as long as somebody has something of it.
    _own: Option<Arc<Part>>,
}

impl Room {
    /// Takes room for more bytes of the body.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), ApiError> {
        self.bodies.take(bytes)
    }

    /// Takes room for rows of so many bytes.
    pub(super) fn take_rows(&self, bytes: usize) -> Result<(), ApiError> {
        self.rows.take(bytes)
    }

    /// Takes room for what a body of so many bytes becomes while it is read.
    pub(super) fn take_reading(&self, bytes: usize) -> Result<(), ApiError> {
        self.reading.take(bytes)
    }

    /// It is read.
    pub(super) fn read(&self) {
        self.reading.give_back();
    }

    /// Waits until it is this body's turn to be read, which lasts until what is given back is dropped.
    pub(super) async fn turn(&self) -> Result<Vec<OwnedSemaphorePermit>, ApiError> {
        turn_within(&self.turns, PATIENCE).await
    }

    /// Waits until it is this batch's turn to be stored, in the same way.
    pub(super) async fn turn_to_write(&self) -> Result<Vec<OwnedSemaphorePermit>, ApiError> {
        turn_within(&self.writes, PATIENCE).await
    }
}

/// A turn of each, the project's own first: who waits for that keeps nobody else waiting.
async fn turn_within(
    turns: &[Arc<Semaphore>],
    patience: Duration,
) -> Result<Vec<OwnedSemaphorePermit>, ApiError> {
    let all = async {
        let mut permits = Vec::with_capacity(turns.len());
        for turn in turns {
            permits.push(turn.clone().acquire_owned().await.ok()?);
        }
        Some(permits)
    };
    tokio::time::timeout(patience, all).await.ok().flatten().ok_or_else(ApiError::unavailable)
}

/// What one request has of what all share.
#[derive(Debug)]
struct Share {
    of: Vec<Arc<Semaphore>>,
    held: Mutex<(usize, Vec<OwnedSemaphorePermit>)>,
}

impl Share {
    fn of(of: impl IntoIterator<Item = Arc<Semaphore>>) -> Self {
        Self { of: of.into_iter().collect(), held: Mutex::default() }
    }

    fn take(&self, bytes: usize) -> Result<(), ApiError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let total = held.0.saturating_add(bytes);
        let has = held.1.first().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = total.div_ceil(UNIT).saturating_sub(has);
        let more = u32::try_from(more).map_err(|_| ApiError::unavailable())?;
        let permits = self.of.iter().map(|all| all.clone().try_acquire_many_owned(more));
        let permits: Vec<_> = permits.collect::<Result<_, _>>().map_err(|_| ApiError::unavailable())?;
        held.0 = total;
        if held.1.is_empty() {
            held.1 = permits;
        } else {
            held.1.iter_mut().zip(permits).for_each(|(has, more)| has.merge(more));
        }
        Ok(())
    }

    fn give_back(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = (0, vec![]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_room_comes_back() {
        let intake = Intake::default();
        let (one, other) = (intake.room(None), intake.room(None));
        (0..1000).for_each(|_| one.take(10).unwrap());
        assert_eq!(intake.all.bodies.available_permits(), BODIES / UNIT - 10, "10,000 bytes are 10 units");
        assert!(other.take(BODIES).is_err());
        other.take(BODIES - 10 * UNIT).unwrap();
        assert!(one.take(UNIT).is_err());
        drop(other);
        one.take(UNIT).unwrap();
        one.take_rows(ROWS).unwrap();
        assert!(intake.room(None).take_rows(1).is_err());
        drop(one);
        assert_eq!(intake.all.bodies.available_permits(), BODIES / UNIT);
        intake.room(None).take_rows(1).unwrap();
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_turn_is_told_to_come_again() {
        let room = Intake::default().room(None);
        let mut turns = vec![];
        for _ in 0..READ {
            turns.push(room.turn().await.unwrap());
        }
        assert!(turn_within(&room.turns, Duration::from_millis(1)).await.is_err());
        turns.pop();
        assert!(room.turn().await.is_ok());
    }

    #[tokio::test]
    async fn no_project_has_all_of_it() {
        let [greedy, other] = [1, 2].map(|n| Some(ProjectId(uuid::Uuid::from_u128(n))));
        let intake = Intake::default();
        let first = intake.room(greedy);
        first.take(OWN_BODIES).unwrap();
        first.take_rows(ROWS / 2).unwrap();
        assert!(intake.room(greedy).take(1).is_err() && intake.room(greedy).take_rows(1).is_err());
        let second = intake.room(other);
        second.take(BODIES - OWN_BODIES).unwrap();
        second.take_rows(ROWS / 2).unwrap();

        let (mut turns, mut writes) = (vec![], vec![]);
        for _ in 0..READ - 1 {
            turns.push(intake.room(greedy).turn().await.unwrap());
        }
        let short = Duration::from_millis(1);
        assert!(turn_within(&intake.room(greedy).turns, short).await.is_err());
        assert!(turn_within(&intake.room(other).turns, short).await.is_ok());
        for _ in 0..WRITTEN {
            writes.push(intake.room(greedy).turn_to_write().await.unwrap());
        }
        assert!(turn_within(&intake.room(greedy).writes, short).await.is_err());
        assert!(turn_within(&intake.room(other).writes, short).await.is_ok());
        writes.pop();
        assert!(turn_within(&intake.room(greedy).writes, short).await.is_ok());
        drop(first);
        intake.room(greedy).take(1).unwrap();
    }
}
