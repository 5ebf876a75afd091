//! Which of a deployment's servers takes a request: the one with the fewest under way, and of equals the one that was
//! asked longest ago. One that does not answer is asked again after a while, by one request at a time.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::ids::DeploymentId;

/// How long one that did not answer is not asked, when others are there.
const AWAY: Duration = Duration::from_secs(2);

/// What is known of the servers of deployments that have several.
#[derive(Clone, Default)]
pub(super) struct Balance(Arc<Mutex<Loads>>);

type Key = (DeploymentId, SocketAddr);

#[derive(Default)]
struct Loads {
    of: HashMap<Key, Load>,
    /// Counts up with each request.
    turn: u64,
}

#[derive(Default)]
struct Load {
    under_way: usize,
    /// When it was asked last.
    turn: u64,
    /// Since when it is known not to answer.
    away: Option<Instant>,
}

impl Load {
    /// Whether it is asked only when nobody else is left.
    fn is_last(&self, now: Instant) -> bool {
        self.away.is_some_and(|since| now - since < AWAY)
    }
}

/// One request under way to one server; it ends when this is dropped.
pub(super) struct Place {
    balance: Balance,
    key: Key,
}

/// Where a request goes, and its place there if there is a choice.
pub(super) type Chosen = (SocketAddr, Option<Place>);

impl Balance {
    /// The best of these servers that was not asked yet. One alone is not counted.
    pub(super) fn choose(
        &self,
        deployment: DeploymentId,
        servers: &[SocketAddr],
        asked: &[SocketAddr],
    ) -> Option<Chosen> {
        if let [alone] = servers {
            return asked.is_empty().then_some((*alone, None));
        }
        let now = Instant::now();
        let mut loads = self.0.lock().expect("no holder panics");
        let left = servers.iter().filter(|server| !asked.contains(server));
        let best = left.min_by_key(|server| match loads.of.get(&(deployment, **server)) {
            Some(load) => (load.is_last(now), load.under_way, load.turn),
            None => (false, 0, 0),
        });
        let key = (deployment, *best?);
        loads.turn += 1;
        let turn = loads.turn;
        let load = loads.of.entry(key).or_default();
        (load.under_way, load.turn) = (load.under_way + 1, turn);
        // This one request finds out; the others wait for what it finds.
        load.away = load.away.map(|_| now);
        Some((key.1, Some(Place { balance: self.clone(), key })))
    }

    /// A server has answered, or has not.
    pub(super) fn note(&self, deployment: DeploymentId, server: SocketAddr, answered: bool) {
        let mut loads = self.0.lock().expect("no holder panics");
        if let Some(load) = loads.of.get_mut(&(deployment, server)) {
            load.away = (!answered).then(Instant::now);
        }
    }

    /// Forgets what is not among these, once nothing of it is under way.
    pub(super) fn forget_all_but(&self, kept: impl Iterator<Item = Key>) {
        let mut loads = self.0.lock().expect("no holder panics");
        if loads.of.is_empty() {
            return;
        }
        let kept: HashSet<Key> = kept.collect();
        loads.of.retain(|key, load| load.under_way > 0 || kept.contains(key));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut loads = self.balance.0.lock().expect("no holder panics");
        if let Some(load) = loads.of.get_mut(&self.key) {
            load.under_way -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const IT: DeploymentId = DeploymentId(Uuid::from_u128(1));

    fn servers() -> [SocketAddr; 3] {
        [1, 2, 3].map(|port| SocketAddr::from(([10, 0, 0, 1], port)))
    }

    /// The port of who is chosen, and his place.
    fn choose(balance: &Balance, asked: &[SocketAddr]) -> (u16, Place) {
        let (server, place) = balance.choose(IT, &servers(), asked).unwrap();
        (server.port(), place.unwrap())
    }

    #[test]
    fn the_one_with_the_fewest_under_way_takes_it_and_of_equals_each_in_turn() {
        let balance = Balance::default();
        let turns: Vec<_> = (0..6).map(|_| choose(&balance, &[]).0).collect();
        assert_eq!(turns, [1, 2, 3, 1, 2, 3]);
        let (one, two) = (choose(&balance, &[]), choose(&balance, &[]));
        assert_eq!((one.0, two.0), (1, 2));
        // A long request holds its server back, whoever's turn it is.
        let busy: Vec<_> = (0..3).map(|_| choose(&balance, &[]).0).collect();
        assert_eq!(busy, [3, 3, 3]);
        drop(one);
        assert_eq!(choose(&balance, &[]).0, 1);
        drop(two);
        assert_eq!(choose(&balance, &servers()[..2]).0, 3, "who was asked is not asked again");
        assert!(balance.choose(IT, &servers(), &servers()).is_none());
    }

    #[test]
    fn one_that_does_not_answer_is_asked_last() {
        let balance = Balance::default();
        let [one, two, three] = servers();
        drop(choose(&balance, &[]));
        balance.note(IT, one, false);
        let held: Vec<_> = (0..4).map(|_| choose(&balance, &[])).collect();
        assert!(held.iter().all(|(port, _)| *port != 1), "however much the others have to do");
        assert_eq!(choose(&balance, &[two, three]).0, 1, "but rather than nobody");
        balance.note(IT, one, true);
        assert_eq!(choose(&balance, &[]).0, 1);
    }

    #[test]
    fn after_a_while_one_request_finds_out_whether_it_is_back() {
        let (now, balance) = (Instant::now(), Balance::default());
        let ill = Load { away: Some(now), ..Load::default() };
        assert!(ill.is_last(now + AWAY / 2) && !ill.is_last(now + AWAY));
        // One that has streams open is asked again all the same.
        let [one, ..] = servers();
        let stream = choose(&balance, &[]);
        assert_eq!(stream.0, 1);
        let since = now.checked_sub(AWAY).unwrap();
        balance.0.lock().unwrap().of.get_mut(&(IT, one)).unwrap().away = Some(since);
        let busy: Vec<_> = (0..4).map(|_| choose(&balance, &[])).collect();
        assert_eq!(busy.iter().filter(|(port, _)| *port == 1).count(), 1, "by one request");
    }

    #[test]
    fn nothing_is_kept_of_servers_that_are_no_more() {
        let balance = Balance::default();
        let place = choose(&balance, &[]).1;
        drop(choose(&balance, &[]));
        balance.forget_all_but(std::iter::empty());
        assert_eq!(balance.0.lock().unwrap().of.len(), 1, "a request is under way");
        drop(place);
        balance.forget_all_but(servers()[1..].iter().map(|server| (IT, *server)));
        assert!(balance.0.lock().unwrap().of.is_empty());
        assert!(balance.choose(IT, &servers()[..1], &[]).unwrap().1.is_none(), "one alone is not counted");
        assert!(balance.choose(IT, &servers()[..1], &servers()[..1]).is_none());
    }
}
