//! How often somebody may ask: a bucket for each address, user, token and team, full at first, refilled evenly within a
//! minute. Each server process counts for itself.

mod address;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use domain::ids::{DeploymentId, TeamId, TokenId, UserId};
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

pub(crate) use address::client;

/// In so many checks the buckets are looked at once: whether there are too many.
const NOW_AND_THEN: u32 = 4096;
/// More buckets than these are looked through for such as are full again.
const MANY: usize = 100_000;
/// A violation of somebody is recorded once in so long.
const WINDOW: Duration = Duration::from_secs(60);
/// Of so many requests that an address may make, one may be a webhook that proves nothing: 60 a minute, of 60 000.
const UNPROVED: u32 = 1000;
/// Violators remembered at most; the violations of others are only counted.
const VIOLATORS: usize = 10_000;

/// Requests a minute; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// From one address; from one /64 of IPv6.
    pub address: u32,
    /// Of one person, with whatever sessions and tokens.
    pub user: u32,
    /// With one API token.
    pub token: u32,
    /// To what belongs to one team.
    pub team: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self { address: 60_000, user: 30_000, token: 30_000, team: 60_000 }
    }
}

/// Who is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Address(IpAddr),
    /// An address whose webhooks prove nothing.
    Unproved(IpAddr),
    User(UserId),
    Token(TokenId),
    /// A deployment's own token.
    Deployment(DeploymentId),
    Team(TeamId),
}

impl Who {
    /// An address; of IPv6 the network that one customer has.
    pub(crate) fn address(ip: IpAddr) -> Self {
        Self::Address(network(ip))
    }

    /// The same of who sends webhooks that prove nothing.
    pub(crate) fn unproved(ip: IpAddr) -> Self {
        Self::Unproved(network(ip))
    }

    /// What it is, for metrics and answers.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Unproved(_) => "unproved",
            Self::User(_) => "user",
            Self::Token(_) | Self::Deployment(_) => "token",
            Self::Team(_) => "team",
        }
    }
}

fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (!0 << 64))),
        v4 => v4,
    }
}

/// What is left in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Requests of a full bucket.
    pub(crate) limit: u32,
    /// Requests left.
    pub(crate) remaining: u32,
}

impl Room {
    /// Seconds until the bucket is full again.
    pub(crate) fn reset(self) -> u64 {
        let gone = u64::from(self.limit - self.remaining.min(self.limit));
        (gone * 60).div_ceil(self.limit.max(1).into())
    }

    /// Whether less of this bucket is left than of the other.
    pub(crate) fn is_tighter(self, other: Self) -> bool {
        u64::from(self.remaining) * u64::from(other.limit)
            < u64::from(other.remaining) * u64::from(self.limit)
    }
}

/// A bucket that is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Empty {
    /// Requests of a full one.
    pub(crate) limit: u32,
    /// Seconds until there is room for one.
    pub(crate) wait: u64,
    /// Whether it is the first such request in a while: that one is recorded.
    pub(crate) is_first: bool,
}

type Buckets = RateLimiter<Who, DashMapStateStore<Who>, MonotonicClock, StateInformationMiddleware>;

/// All buckets of a server.
pub struct Limits {
    /// With the requests of a full bucket; none where nothing is limited.
    of_address: Option<(u32, Buckets)>,
    of_unproved: Option<(u32, Buckets)>,
    of_user: Option<(u32, Buckets)>,
    of_token: Option<(u32, Buckets)>,
    of_team: Option<(u32, Buckets)>,
    /// Whose violation was recorded when.
    recorded: Mutex<HashMap<Who, Instant>>,
    checks: AtomicU32,
}

impl Limits {
    /// Full buckets.
    pub fn new(rates: Rates) -> Self {
        let buckets = |rate| {
            let quota = Quota::per_minute(NonZeroU32::new(rate)?);
            Some((rate, RateLimiter::dashmap_with_clock(quota, MonotonicClock).with_middleware()))
        };
        Self {
            of_address: buckets(rates.address),
            of_unproved: buckets(rates.address.div_ceil(UNPROVED)),
            of_user: buckets(rates.user),
            of_token: buckets(rates.token),
            of_team: buckets(rates.team),
            recorded: Mutex::default(),
            checks: AtomicU32::new(0),
        }
    }

    /// Takes a request out of a bucket; none where nothing is limited.
    pub(crate) fn take(&self, who: Who) -> Result<Option<Room>, Empty> {
        let Some((limit, buckets)) = self.of(who) else { return Ok(None) };
        let limit = *limit;
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(NOW_AND_THEN) && buckets.len() > MANY {
            buckets.retain_recent();
        }
        match buckets.check_key(&who) {
            Ok(state) => Ok(Some(Room { limit, remaining: state.remaining_burst_capacity() })),
            Err(until) => {
                let wait = until.wait_time_from(MonotonicClock.now()).as_secs_f64().ceil().max(1.0);
                Err(Empty { limit, wait: wait as u64, is_first: self.is_first(who, Instant::now()) })
            }
        }
    }

    /// Forgets buckets that are full again. To be called every few seconds.
    pub fn forget_idle(&self) {
        for (_, buckets) in
            [&self.of_address, &self.of_unproved, &self.of_user, &self.of_token, &self.of_team]
                .into_iter()
                .flatten()
        {
            buckets.retain_recent();
            buckets.shrink_to_fit();
        }
        self.recorded.lock().expect("no holder panics").retain(|_, at| at.elapsed() < WINDOW);
    }

    fn of(&self, who: Who) -> Option<&(u32, Buckets)> {
        match who {
            Who::Address(_) => self.of_address.as_ref(),
            Who::Unproved(_) => self.of_unproved.as_ref(),
            Who::User(_) => self.of_user.as_ref(),
            Who::Token(_) | Who::Deployment(_) => self.of_token.as_ref(),
            Who::Team(_) => self.of_team.as_ref(),
        }
    }

    fn is_first(&self, who: Who, now: Instant) -> bool {
        let mut recorded = self.recorded.lock().expect("no holder panics");
        if recorded.get(&who).is_some_and(|at| now.duration_since(*at) < WINDOW) {
            return false;
        }
        let has_room = recorded.len() < VIOLATORS || recorded.contains_key(&who);
        if has_room {
            recorded.insert(who, now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(address: u32) -> Limits {
        Limits::new(Rates { address, user: 0, ..Rates::default() })
    }

    fn ip(text: &str) -> Who {
        Who::address(text.parse().unwrap())
    }

    #[test]
    fn a_bucket_empties_for_one_alone_and_its_violation_is_recorded_once() {
        let limits = limits(3);
        for remaining in [2, 1, 0] {
            assert_eq!(limits.take(ip("192.0.2.1")), Ok(Some(Room { limit: 3, remaining })));
        }
        let first = limits.take(ip("192.0.2.1")).unwrap_err();
        assert!(first.is_first && (1..=20).contains(&first.wait), "{first:?}");
        for _ in 0..1000 {
            assert!(!limits.take(ip("192.0.2.1")).unwrap_err().is_first);
        }
        assert!(limits.take(ip("192.0.2.2")).is_ok());
        assert_eq!(limits.take(Who::User(UserId(uuid::Uuid::nil()))), Ok(None), "0 is no limit");
        assert_eq!(Room { limit: 3, remaining: 0 }.reset(), 60);
        assert_eq!(Room { limit: 3, remaining: 2 }.reset(), 20);
        assert!(Room { limit: 10, remaining: 1 }.is_tighter(Room { limit: 3, remaining: 1 }));
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_so_is_an_address_written_both_ways() {
        assert_eq!(ip("2001:db8:1:2::1"), ip("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(ip("2001:db8:1:2::1"), ip("2001:db8:1:3::1"));
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
        assert_ne!(ip("192.0.2.1"), ip("192.0.2.2"));
    }

    #[test]
    fn who_is_idle_is_forgotten() {
        let limits = limits(60_000);
        for n in 0..10_000_u32 {
            limits.take(Who::address(IpAddr::from(n.to_be_bytes()))).unwrap();
        }
        let (_, buckets) = limits.of_address.as_ref().unwrap();
        // One request is made up for within a millisecond.
        let started = Instant::now();
        while !buckets.is_empty() {
            limits.forget_idle();
            assert!(started.elapsed() < Duration::from_secs(10), "{} are left", buckets.len());
        }
    }
}
