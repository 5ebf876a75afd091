//! Slows down who guesses passwords: every failure costs a try, and tries come back with time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use chrono::{DateTime, Utc};

use crate::error::Problem;

/// Failures that an address may have at once for one account.
const TRIES: f64 = 10.0;
/// Failures that an address may have at once for all accounts together: many people may share an address.
const TRIES_OF_ADDRESS: f64 = 100.0;
/// Seconds until a try comes back.
const SECONDS_A_TRY: f64 = 6.0;
/// More entries than this are looked through for those that are full again.
const MANY: usize = 10_000;

/// Tries that are left, by address and account. In memory: each server process counts for itself.
#[derive(Default)]
pub(crate) struct Throttle(Mutex<HashMap<Key, Left>>);

type Key = (Option<IpAddr>, Option<String>);

#[derive(Clone, Copy)]
struct Left {
    tries: f64,
    at: DateTime<Utc>,
    most: f64,
}

impl Left {
    fn by(self, now: DateTime<Utc>) -> Self {
        let seconds = (now - self.at).as_seconds_f64().max(0.0);
        Self { tries: (self.tries + seconds / SECONDS_A_TRY).min(self.most), at: now, ..self }
    }
}

impl Throttle {
    /// Refuses another try of who has none left. `account` is a keyed hash of what was typed.
    pub(crate) fn check(&self, ip: Option<IpAddr>, account: &str, now: DateTime<Utc>) -> Result<(), Problem> {
        let map = self.0.lock().expect("no holder panics");
        for (key, _) in keys(ip, account) {
            let Some(left) = map.get(&key).map(|left| left.by(now)) else { continue };
            if left.tries < 1.0 {
                let seconds = ((1.0 - left.tries) * SECONDS_A_TRY).ceil() as u32;
                return Err(Problem::new(429, "too_many_attempts", "Too many attempts")
                    .detail("too many failed attempts from this address: wait a little")
                    .retry_after(seconds.max(1)));
            }
        }
        Ok(())
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, ip: Option<IpAddr>, account: &str, now: DateTime<Utc>) {
        let mut map = self.0.lock().expect("no holder panics");
        if map.len() > MANY {
            map.retain(|_, left| left.by(now).tries < left.most);
        }
        for (key, most) in keys(ip, account) {
            let left = map.entry(key).or_insert(Left { tries: most, at: now, most });
            *left = left.by(now);
            left.tries = (left.tries - 1.0).max(0.0);
        }
    }
}

fn keys(ip: Option<IpAddr>, account: &str) -> [(Key, f64); 2] {
    [((ip, Some(account.to_owned())), TRIES), ((ip, None), TRIES_OF_ADDRESS)]
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn who_guesses_waits_and_nobody_else_does() {
        let throttle = Throttle::default();
        let now = DateTime::UNIX_EPOCH;
        let guesser = Some(IpAddr::from([10, 0, 0, 1]));
        for _ in 0..10 {
            throttle.check(guesser, "a", now).unwrap();
            throttle.failed(guesser, "a", now);
        }
        assert_eq!(throttle.check(guesser, "a", now).unwrap_err().status(), 429);
        throttle.check(guesser, "b", now).expect("another account");
        throttle.check(Some(IpAddr::from([10, 0, 0, 2])), "a", now).expect("another address");
        throttle.check(guesser, "a", now + TimeDelta::seconds(6)).expect("a try has come back");
    }

    #[test]
    fn who_tries_many_accounts_waits_too() {
        let throttle = Throttle::default();
        let now = DateTime::UNIX_EPOCH;
        for n in 0..100 {
            throttle.failed(None, &n.to_string(), now);
        }
        assert!(throttle.check(None, "new", now).is_err());
    }
}
