//! How much of what senders say is in memory at a time. What does not fit is to be sent again later.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Bytes of bodies, packed and unpacked, of all requests together.
const BODIES: usize = 32 << 20;
/// Bytes of rows that are made of them and not stored yet, of all requests together.
const ROWS: usize = 128 << 20;
/// So many bodies are read at a time: meanwhile each of them takes up several times its size.
const READ: usize = 4;
/// How long a body waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// A permit stands for so many bytes.
const UNIT: usize = 1024;

/// What all requests share.
pub struct Intake {
    bodies: Arc<Semaphore>,
    rows: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Default for Intake {
    fn default() -> Self {
        let [bodies, rows, turns] =
            [BODIES / UNIT, ROWS / UNIT, READ].map(|all| Arc::new(Semaphore::new(all)));
        Self { bodies, rows, turns }
    }
}

impl Intake {
    /// Room for one request; nothing is taken yet.
    pub(crate) fn room(&self) -> Arc<Room> {
        Arc::new(Room {
            bodies: Share::of(&self.bodies),
            rows: Share::of(&self.rows),
            turns: self.turns.clone(),
        })
    }
}

/// What one request has in memory. It is free again when the request is answered.
#[derive(Debug)]
pub(crate) struct Room {
    bodies: Share,
    rows: Share,
    turns: Arc<Semaphore>,
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

    /// Waits until it is this body's turn to be read, which lasts until what is given back is dropped.
    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.turn_within(PATIENCE).await
    }

    async fn turn_within(&self, patience: Duration) -> Result<OwnedSemaphorePermit, ApiError> {
        let turn = tokio::time::timeout(patience, self.turns.clone().acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or_else(ApiError::unavailable)
    }
}

/// What one request has of what all share.
#[derive(Debug)]
struct Share {
    all: Arc<Semaphore>,
    held: Mutex<(usize, Option<OwnedSemaphorePermit>)>,
}

impl Share {
    fn of(all: &Arc<Semaphore>) -> Self {
        Self { all: all.clone(), held: Mutex::default() }
    }

    fn take(&self, bytes: usize) -> Result<(), ApiError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let total = held.0.saturating_add(bytes);
        let has = held.1.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = total.div_ceil(UNIT).saturating_sub(has);
        let more = u32::try_from(more).map_err(|_| ApiError::unavailable())?;
        let permit = self.all.clone().try_acquire_many_owned(more).map_err(|_| ApiError::unavailable())?;
        held.0 = total;
        match &mut held.1 {
            Some(has) => has.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_room_comes_back() {
        let intake = Intake::default();
        let (one, other) = (intake.room(), intake.room());
        (0..1000).for_each(|_| one.take(10).unwrap());
        assert_eq!(intake.bodies.available_permits(), BODIES / UNIT - 10, "10,000 bytes are 10 units");
        assert!(other.take(BODIES).is_err());
        other.take(BODIES - 10 * UNIT).unwrap();
        assert!(one.take(UNIT).is_err());
        drop(other);
        one.take(UNIT).unwrap();
        one.take_rows(ROWS).unwrap();
        assert!(intake.room().take_rows(1).is_err());
        drop(one);
        assert_eq!(intake.bodies.available_permits(), BODIES / UNIT);
        intake.room().take_rows(1).unwrap();
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_turn_is_told_to_come_again() {
        let room = Intake::default().room();
        let mut turns = vec![];
        for _ in 0..READ {
            turns.push(room.turn().await.unwrap());
        }
        assert!(room.turn_within(Duration::from_millis(1)).await.is_err());
        turns.pop();
        assert!(room.turn().await.is_ok());
    }
}
