//! Slows down who guesses: failed tries are counted per account and address together, per address, and per account
//! from everywhere. The last holds only for addresses from which nobody has signed in to the account: whoever guesses
//! from many addresses locks the right person out of none of his own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use chrono::{DateTime, Duration, Utc};

use crate::error::ApiError;

/// Failed tries of one account from one address in a window. From elsewhere the right person still gets in.
const PER_ACCOUNT: u32 = 10;
/// Failed tries of all accounts from one address in a window.
const PER_ADDRESS: u32 = 100;
/// Failed tries of one account from all addresses in a window.
const FROM_EVERYWHERE: u32 = 100;
/// Length of a window.
const WINDOW: Duration = Duration::minutes(5);
/// For so long an address is known as one of an account.
const KNOWN: Duration = Duration::days(30);
/// Counters and known addresses kept; above it the oldest are forgotten.
const KEPT: usize = 10_000;

/// An account from an address; none is all of them.
type Who = (Option<IpAddr>, Option<String>);
/// How often, since when.
type Failed = (u32, DateTime<Utc>);

/// Counters of failed tries.
#[derive(Default)]
pub struct Throttle {
    counters: Mutex<HashMap<Who, Failed>>,
    known: Mutex<HashMap<(IpAddr, String), DateTime<Utc>>>,
}

impl Throttle {
    /// Refuses with 429 who has failed too often from this address.
    pub(crate) fn check(&self, ip: IpAddr, account: &str, now: DateTime<Utc>) -> Result<(), ApiError> {
        self.none_over(&from(ip, account), now)
    }

    /// The same of an account that somebody has, wherever it was tried from.
    pub(crate) fn check_account(
        &self,
        ip: IpAddr,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<(), ApiError> {
        self.check(ip, account, now)?;
        if self.is_known(ip, account, now) {
            return Ok(());
        }
        self.none_over(&[(everywhere(account), FROM_EVERYWHERE)], now)
    }

    /// Notes a failed try.
    pub(crate) fn failed(&self, ip: IpAddr, account: &str, now: DateTime<Utc>) {
        from(ip, account).into_iter().for_each(|(who, _)| self.count(who, now));
    }

    /// The same of an account that somebody has.
    pub(crate) fn failed_account(&self, ip: IpAddr, account: &str, now: DateTime<Utc>) {
        self.failed(ip, account, now);
        self.count(everywhere(account), now);
    }

    /// Notes that the right person is at this address.
    pub(crate) fn succeeded(&self, ip: IpAddr, account: &str, now: DateTime<Utc>) {
        let mut known = self.known.lock().expect("no holder panics");
        if known.len() >= KEPT {
            known.retain(|_, at| now - *at < KNOWN);
        }
        if known.len() >= KEPT {
            let oldest = known.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
            oldest.map(|oldest| known.remove(&oldest));
        }
        known.insert((ip, account.to_owned()), now);
    }

    fn none_over(&self, limits: &[(Who, u32)], now: DateTime<Utc>) -> Result<(), ApiError> {
        let counters = self.counters.lock().expect("no holder panics");
        for (who, limit) in limits {
            if let Some((failed, since)) = counters.get(who)
                && failed >= limit
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

    fn count(&self, who: Who, now: DateTime<Utc>) {
        let mut counters = self.counters.lock().expect("no holder panics");
        if counters.len() >= KEPT {
            counters.retain(|_, (_, since)| now - *since < WINDOW);
        }
        let counter = counters.entry(who).or_insert((0, now));
        if now - counter.1 >= WINDOW {
            *counter = (0, now);
        }
        counter.0 += 1;
    }

    fn is_known(&self, ip: IpAddr, account: &str, now: DateTime<Utc>) -> bool {
        let known = self.known.lock().expect("no holder panics");
        known.get(&(ip, account.to_owned())).is_some_and(|at| now - *at < KNOWN)
    }
}

/// What a try is counted under, and how often it may be.
fn from(ip: IpAddr, account: &str) -> [(Who, u32); 2] {
    [((Some(ip), Some(account.to_owned())), PER_ACCOUNT), ((Some(ip), None), PER_ADDRESS)]
}

fn everywhere(account: &str) -> Who {
    (None, Some(account.to_owned()))
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

    #[test]
    fn who_guesses_from_everywhere_is_stopped_and_the_right_person_is_not() {
        let throttle = Throttle::default();
        let (home, now) = (IpAddr::from([192, 0, 2, 1]), DateTime::UNIX_EPOCH);
        throttle.succeeded(home, "ann", now);
        for n in 0..FROM_EVERYWHERE {
            let somewhere = IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n));
            assert!(throttle.check_account(somewhere, "ann", now).is_ok());
            throttle.failed_account(somewhere, "ann", now);
        }
        let elsewhere = IpAddr::from([198, 51, 100, 7]);
        assert!(throttle.check_account(elsewhere, "ann", now).is_err());
        assert!(throttle.check_account(elsewhere, "bob", now).is_ok());
        assert!(throttle.check_account(home, "ann", now).is_ok(), "she still gets in");
        for _ in 0..PER_ACCOUNT {
            throttle.failed_account(home, "ann", now);
        }
        assert!(throttle.check_account(home, "ann", now).is_err(), "she may not guess without end either");
    }
}
