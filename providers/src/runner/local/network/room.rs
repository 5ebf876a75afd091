//! How many connections there may be: each is two descriptors of the platform's, and no server may take them from the others
//! or from the platform itself.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::runner::local::OPEN_FILES;

/// Connections out of one server at a time, those to the platform included; more wait.
const OUTWARD: usize = 512;
/// Connections into one server at a time; more wait.
const INWARD: usize = 1024;
/// Questions for names of one server at a time; it asks again for those that are lost.
const QUESTIONS: usize = 128;

/// One server may take one of so many parts of what there is for all of them.
const PARTS: usize = 4;

/// Descriptors that one connection takes.
const EACH: u64 = 2;

/// Room for the connections of all servers.
#[derive(Clone, Debug)]
pub(in crate::runner::local) struct Room {
    all: Arc<Semaphore>,
    most: usize,
}

impl Room {
    /// What this process may have open, raised where the machine allows it. Half of it is for connections of servers.
    pub(in crate::runner::local) fn make() -> Self {
        let limit = open_files();
        let room = Self::of(limit);
        if limit < OPEN_FILES {
            tracing::warn!(
                limit,
                "the platform may open {limit} files, of {OPEN_FILES} that it wants: its servers have {} connections \
                 at a time, each of them {} at most",
                room.most,
                room.most / PARTS
            );
        }
        room
    }

    pub(super) fn of(open_files: u64) -> Self {
        // A quarter of a quarter is at least one.
        let most = usize::try_from(open_files / 2 / EACH).unwrap_or(Semaphore::MAX_PERMITS);
        let most = most.clamp(PARTS * PARTS, Semaphore::MAX_PERMITS);
        Self { all: Arc::new(Semaphore::new(most)), most }
    }

    /// The room of one more server. Its bounds together are within its part.
    pub(super) fn server(&self) -> Rooms {
        let part = self.most / PARTS;
        let bounded = |most: usize| Places::new(&self.all, most);
        Rooms {
            outward: bounded(OUTWARD.min(part / 2)),
            inward: bounded(INWARD.min(part / 4)),
            questions: bounded(QUESTIONS.min(part / 4)),
        }
    }
}

/// The room of one server.
pub(super) struct Rooms {
    pub(super) outward: Places,
    pub(super) inward: Places,
    pub(super) questions: Places,
}

/// Places for connections of one kind of one server.
#[derive(Clone)]
pub(super) struct Places {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

/// Held for as long as the connection lasts.
#[derive(Debug)]
pub(super) struct Place {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Places {
    fn new(all: &Arc<Semaphore>, most: usize) -> Self {
        Self { own: Arc::new(Semaphore::new(most)), all: all.clone() }
    }

    /// Waits for one. Whoever waits for the room of all holds only what is its own.
    pub(super) async fn take(&self) -> Place {
        let open = "nobody closes it";
        let own = self.own.clone().acquire_owned().await.expect(open);
        Place { _own: own, _all: self.all.clone().acquire_owned().await.expect(open) }
    }

    /// One, if there is one now.
    pub(super) fn try_take(&self) -> Option<Place> {
        let own = self.own.clone().try_acquire_owned().ok()?;
        Some(Place { _own: own, _all: self.all.clone().try_acquire_owned().ok()? })
    }
}

/// How many files this process may have open; raised to what is wanted where the machine allows it.
fn open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if limit.current.is_some_and(|now| now < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files stays where it is: {error}");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(places: &Places) -> Vec<Place> {
        std::iter::from_fn(|| places.try_take()).collect()
    }

    #[test]
    fn one_server_takes_its_part_and_leaves_the_rest() {
        for (open_files, out, into, questions) in
            [(65_536, 512, 1024, 128), (u64::MAX, 512, 1024, 128), (1024, 32, 16, 16), (0, 2, 1, 1)]
        {
            let room = Room::of(open_files);
            let greedy = room.server();
            let held = [&greedy.outward, &greedy.inward, &greedy.questions].map(fill);
            assert_eq!([out, into, questions], held.each_ref().map(Vec::len), "{open_files}");
            let taken: usize = held.iter().map(Vec::len).sum();
            assert!(taken <= room.most / PARTS, "{open_files}: {taken} of {}", room.most);
            assert!(room.server().outward.try_take().is_some(), "another one has room");
            drop(held);
            assert_eq!(fill(&greedy.outward).len(), out, "places come back");
        }
        assert!(Room::of(65_536).most as u64 * EACH <= 65_536 / 2, "half is the platform's own");
    }

    #[test]
    fn all_servers_together_stay_within_what_there_is() {
        let room = Room::of(1024);
        let servers: Vec<_> = (0..20).map(|_| room.server()).collect();
        let held: Vec<_> =
            servers.iter().flat_map(|server| [fill(&server.outward), fill(&server.inward)]).collect();
        assert_eq!(held.iter().map(Vec::len).sum::<usize>(), 256);
    }
}
