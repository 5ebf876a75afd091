//! Which of a deployment's servers are there, and when a lost one is started again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use domain::deployment::STEADY_SECONDS;

/// Who is there so long works: it is not "lost again in a row".
const STEADY: Duration = Duration::from_secs(STEADY_SECONDS);

/// Between two starts at most: 2^6 seconds.
const LONGEST: u32 = 6;

/// The seats of a deployment's servers, by their numbers.
pub(super) struct Seats(BTreeMap<u8, Seat>);

struct Seat {
    /// Who sits there.
    address: Option<SocketAddr>,
    /// Since when, or since when it is empty.
    since: Instant,
    /// How often in a row somebody left it, or did not come.
    losses: u32,
}

impl Seats {
    /// Those that are there at first.
    pub(super) fn of(there: impl Iterator<Item = (u8, SocketAddr)>) -> Self {
        let mut seats = Self(BTreeMap::new());
        let now = Instant::now();
        there.for_each(|(number, address)| seats.take(number, address, now));
        seats
    }

    /// One is there.
    pub(super) fn take(&mut self, number: u8, address: SocketAddr, now: Instant) {
        let losses = self.0.get(&number).map_or(0, |seat| seat.losses);
        self.0.insert(number, Seat { address: Some(address), since: now, losses });
    }

    /// One is gone, or did not come. Answers how long to wait before the next start: not at all for the first time.
    pub(super) fn leave(&mut self, number: u8, now: Instant) -> Duration {
        let seat = self.0.entry(number).or_insert(Seat { address: None, since: now, losses: 0 });
        let was_steady = seat.address.is_some() && now - seat.since >= STEADY;
        seat.losses = if was_steady { 1 } else { seat.losses + 1 };
        (seat.address, seat.since) = (None, now);
        match seat.losses {
            0 | 1 => Duration::ZERO,
            more => Duration::from_secs(1 << (more - 1).min(LONGEST)),
        }
    }

    /// Where those are that are there.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.values().filter_map(|seat| seat.address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_lost_again_and_again_is_started_less_and_less_often() {
        let (at, now) = (|port: u16| SocketAddr::from(([10, 0, 0, 1], port)), Instant::now());
        let mut seats = Seats::of([(1, at(1)), (2, at(2))].into_iter());
        let mut pauses = Vec::new();
        for port in 3..12 {
            pauses.push(seats.leave(2, now).as_secs());
            assert_eq!(seats.addresses(), [at(1)]);
            seats.take(2, at(port), now);
            assert_eq!(seats.addresses(), [at(1), at(port)]);
        }
        assert_eq!(pauses, [0, 2, 4, 8, 16, 32, 64, 64, 64]);
        assert_eq!(seats.leave(2, now + STEADY), Duration::ZERO, "it had worked for a while");
        assert_eq!(seats.leave(2, now + STEADY), Duration::from_secs(2), "and did not come back");
        assert_eq!(seats.leave(3, now), Duration::ZERO);
    }
}
