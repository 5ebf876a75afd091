//! Slows down who guesses: failed tries are counted per account and address together, and per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use chrono::{DateTime, Duration, Utc};

use crate::error::ApiError;

/// Failed tries of one account from one address in a window. From elsewhere the right person still gets in.
const PER_ACCOUNT: u32 = 10;
/// Failed tries of all accounts from one address in a window.
const PER_ADDRESS: u32 = 100;
/// Length of a window.
const WINDOW: Duration = Duration::minutes(5);
/// Counters kept; above it the oldest windows are forgotten.
const KEPT: usize = 10_000;

/// An account from an address; an empty account is all of them.
type Who = (IpAddr, String);
/// How often, since when.
type Failed = (u32, DateTime<Utc>);

/// Counters of failed tries.
#[derive(Default)]
pub struct Throttle {
    counters: Mutex<HashMap<Who, Failed>>,
}

impl Throttle {
    /// Refuses with 429 who has failed too often.
    pub(crate) fn check(&self, ip: IpAddr, account: &str, now: DateTime<Utc>) -> Result<(), ApiError> {
        let counters = self.counters.lock().expect("no holder panics");
        for (key, limit) in [((ip, account.to_owned()), PER_ACCOUNT), ((ip, String::new()), PER_ADDRESS)] {
            if let Some((failed, since)) = counters.get(&key)
                && *failed >= limit
                && now - *since < WINDOW
            {
                let wait = (*since + WINDOW - now).num_seconds().max(1);
                let detail = "Too many failed tries; wait before the next.";
                return Err(ApiError::new(http::StatusCode::TOO_MANY_REQUESTS, "too_many_tries", detail)
                    .with_retry_after(wait.unsigned_abs()));
            }
        }
        Ok(())
    }

    /// Notes a failed try.
    pub(crate) fn failed(&self, ip: IpAddr, account: &str, now: DateTime<Utc>) {
        let mut counters = self.counters.lock().expect("no holder panics");
        if counters.len() >= KEPT {
            counters.retain(|_, (_, since)| now - *since < WINDOW);
        }
        for key in [(ip, account.to_owned()), (ip, String::new())] {
            let counter = counters.entry(key).or_insert((0, now));
            if now - counter.1 >= WINDOW {
                *counter = (0, now);
            }
            counter.0 += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_refused_after_the_limit_from_that_address_alone_and_for_a_while() {
        let throttle = Throttle::default();
        let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let now = DateTime::UNIX_EPOCH;
        for _ in 0..PER_ACCOUNT {
            assert!(throttle.check(here, "ann", now).is_ok());
            throttle.failed(here, "ann", now);
        }
        assert!(throttle.check(here, "ann", now).is_err());
        assert!(throttle.check(there, "ann", now).is_ok());
        assert!(throttle.check(here, "bob", now).is_ok());
        assert!(throttle.check(here, "ann", now + WINDOW).is_ok());
    }
}
