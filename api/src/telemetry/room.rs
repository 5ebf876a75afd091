//! How much of what senders say is in memory at a time. What does not fit is to be sent again later.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Bytes of bodies, packed and unpacked, of all requests together. Rows made of them take a few times as much.
const ALL: usize = 32 << 20;
/// A permit stands for so many bytes.
const UNIT: usize = 1024;

/// What all requests share.
pub struct Intake(Arc<Semaphore>);

impl Default for Intake {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL / UNIT)))
    }
}

impl Intake {
    /// Room for one request; nothing is taken yet.
    pub(crate) fn room(&self) -> Arc<Room> {
        Arc::new(Room { all: self.0.clone(), held: Mutex::default() })
    }
}

/// What one request has in memory. It is free again when the request is answered.
#[derive(Debug)]
pub(crate) struct Room {
    all: Arc<Semaphore>,
    held: Mutex<(usize, Option<OwnedSemaphorePermit>)>,
}

impl Room {
    /// Takes room for more bytes.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), ApiError> {
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
        assert_eq!(intake.0.available_permits(), ALL / UNIT - 10, "10,000 bytes are 10 units");
        assert!(other.take(ALL).is_err());
        other.take(ALL - 10 * UNIT).unwrap();
        assert!(one.take(UNIT).is_err());
        drop(other);
        one.take(UNIT).unwrap();
        drop(one);
        assert_eq!(intake.0.available_permits(), ALL / UNIT);
    }
}
