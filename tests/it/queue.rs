//! The queue of builds: limits that hold over all servers, teams that take turns, and nobody who waits for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::ids::{BuildId, WorkId};
use futures_util::future::join_all;
use projections::pool;
use projections::queue::{self, Limits, PROCESS, WaitingFor};
use projections::work::{self, Claimed, Due, NewWork};
use serde_json::json;
use sqlx::PgPool;
use tests::bus::Bus;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(15);

/// One build as the queue knows it.
#[derive(Clone, Debug)]
struct Build {
    id: String,
    team: u64,
    project: u64,
    lane: String,
    rank: u64,
    position: i64,
}

/// The queue in a database of its own.
struct Queue {
    _bus: Bus,
    pool: PgPool,
    limits: Limits,
    arrivals: i64,
    waiting: Vec<Build>,
    running: Vec<(Build, Claimed)>,
}

impl Queue {
    async fn start(limits: Limits) -> Self {
        let bus = Bus::start().await;
        let pool = pool::connect(&bus.db.url(), 20).await.unwrap();
        Self { _bus: bus, pool, limits, arrivals: 0, waiting: vec![], running: vec![] }
    }

    /// Of `total`, without limits of teams and projects.
    async fn of(total: u32) -> Self {
        Self::start(Limits { total, team: total, project: total }).await
    }

    async fn ask(&mut self, team: u64, project: u64, environment: u64, rank: u64) -> Build {
        self.arrivals += 1;
        let build = Build {
            id: Uuid::now_v7().to_string(),
            team,
            project,
            lane: format!("build:{team}/{project}/{environment}"),
            rank,
            position: self.arrivals,
        };
        let row = NewWork {
            id: WorkId(Uuid::now_v7()),
            process: PROCESS.to_owned(),
            key: build.id.clone(),
            lane: build.lane.clone(),
            payload: json!({
                "team_id": format!("team {team}"),
                "project_id": format!("project {team}/{project}"),
                "rank": rank,
            }),
            due: Due::AtOnce,
            cause_event: Uuid::now_v7().into(),
            cause_position: self.arrivals,
            correlation: "c".to_owned(),
        };
        let mut db = self.pool.acquire().await.unwrap();
        work::enqueue(&mut db, &row).await.unwrap();
        self.waiting.push(build.clone());
        build
    }

    async fn look(&self) -> Option<Claimed> {
        queue::claim(&self.pool, self.limits, "worker", LEASE).await.unwrap()
    }

    async fn take(&mut self) -> Option<Build> {
        let claimed = self.look().await?;
        Some(self.taken(claimed))
    }

    fn taken(&mut self, claimed: Claimed) -> Build {
        let place = self.waiting.iter().position(|build| build.id == claimed.key).expect("it waited");
        let build = self.waiting.remove(place);
        self.running.push((build.clone(), claimed));
        build
    }

    async fn finish(&mut self, place: usize) {
        let (_, claimed) = self.running.remove(place);
        work::finish(&self.pool, claimed.id, claimed.fence).await.unwrap();
    }

    async fn place(&self, build: &Build) -> (WaitingFor, i64) {
        let id: BuildId = build.id.parse().unwrap();
        let place = queue::place(&self.pool, id, self.limits).await.unwrap().expect("it waits");
        (place.waiting_for, place.before)
    }

    /// Builds that could begin now: the newest of each free environment, within the limits.
    fn eligible(&self) -> Vec<&Build> {
        let of = |same: &dyn Fn(&Build) -> bool| {
            u32::try_from(self.running.iter().filter(|(build, _)| same(build)).count()).unwrap()
        };
        let is_newest = |one: &Build| {
            !self.waiting.iter().any(|other| other.lane == one.lane && other.position > one.position)
        };
        let is_free = |one: &&Build| {
            is_newest(one)
                && of(&|other| other.lane == one.lane) == 0
                && of(&|_| true) < self.limits.total
                && of(&|other| other.team == one.team) < self.limits.team
                && of(&|other| (other.team, other.project) == (one.team, one.project)) < self.limits.project
        };
        self.waiting.iter().filter(is_free).collect()
    }

    fn check_limits(&self) {
        let count = |mut by: Vec<String>| {
            by.sort();
            by.chunk_by(|a, b| a == b).map(|same| u32::try_from(same.len()).unwrap()).max().unwrap_or(0)
        };
        let of = |by: fn(&Build) -> String| count(self.running.iter().map(|(build, _)| by(build)).collect());
        assert!(of(|_| String::new()) <= self.limits.total);
        assert!(of(|build| build.team.to_string()) <= self.limits.team);
        assert!(of(|build| format!("{}/{}", build.team, build.project)) <= self.limits.project);
        assert!(of(|build| build.lane.clone()) <= 1, "two of one environment");
    }
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[tokio::test]
async fn two_hundred_queued_builds_of_a_team_delay_anothers_by_at_most_two_slots() {
    for total in [1, 2, 4] {
        let mut queue = Queue::of(total).await;
        for n in 0..200 {
            queue.ask(1, n, 1, 0).await;
        }
        for _ in 0..40 {
            while queue.take().await.is_some() {}
            queue.finish(0).await;
        }
        while queue.take().await.is_some() {}
        let other = queue.ask(2, 1, 1, 2).await;
        let mut slots = 0;
        loop {
            queue.finish(0).await;
            slots += 1;
            if queue.take().await.unwrap().id == other.id {
                break;
            }
        }
        assert!(slots <= 2, "{slots} slots were freed with {total} in all");
    }
}

/// Random arrivals and ends. Whatever is taken may be taken; whatever may be taken is; a team that comes with nothing
/// waits for one turn of each other team at most; a build waits for a bounded number of turns of its own team.
async fn simulate(seed: u64, limits: Limits) {
    let mut dice = Dice(seed);
    let mut queue = Queue::start(limits).await;
    // Teams that came with nothing, and who has had a turn since; builds, and how many turns their team may have.
    let mut newcomers: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut patience: BTreeMap<String, i64> = BTreeMap::new();
    for step in 0..240 {
        let is_arriving = step < 160 && dice.below(3) > 0;
        if is_arriving {
            // One team asks for most, for production.
            let team = if dice.below(2) == 0 { 0 } else { dice.below(5) };
            let rank = if team == 0 && dice.below(4) > 0 { 0 } else { dice.below(3) };
            let is_new = queue.waiting.iter().all(|build| build.team != team)
                && queue.running.iter().all(|(build, _)| build.team != team);
            let (project, environment) = (dice.below(6), dice.below(3));
            let build = queue.ask(team, project, environment, rank).await;
            // What supersedes leaves the newest alone in the lane, with the place of the oldest.
            let older = queue.waiting.iter().find(|other| other.lane == build.lane && other.id != build.id);
            if let Some(older) = older.cloned() {
                let mut db = queue.pool.acquire().await.unwrap();
                work::withdraw(&mut db, PROCESS, &older.id, Some(&build.id)).await.unwrap();
                queue.waiting.retain(|one| one.id != older.id);
                let left = patience.remove(&older.id).unwrap_or(i64::MAX);
                patience.insert(build.id.clone(), left);
            } else {
                let ahead = queue.waiting.iter().filter(|other| other.team == team).count();
                patience.insert(build.id.clone(), 4 * i64::try_from(ahead).unwrap());
            }
            if is_new {
                newcomers.insert(team, BTreeSet::new());
            }
        } else if !queue.running.is_empty() {
            let place = dice.below(queue.running.len() as u64);
            queue.finish(usize::try_from(place).unwrap()).await;
        }
        loop {
            let eligible: BTreeSet<String> = queue.eligible().iter().map(|build| build.id.clone()).collect();
            let Some(taken) = queue.take().await else {
                assert!(eligible.is_empty(), "seed {seed}: {eligible:?} could begin");
                break;
            };
            assert!(eligible.contains(&taken.id), "seed {seed}: {taken:?} could not begin");
            queue.check_limits();
            newcomers.remove(&taken.team);
            for (newcomer, had_a_turn) in &mut newcomers {
                assert!(had_a_turn.insert(taken.team), "seed {seed}: {newcomer} waits for a second turn");
            }
            patience.remove(&taken.id);
            for build in queue.waiting.iter().filter(|build| build.team == taken.team) {
                let left = patience.get_mut(&build.id).unwrap();
                // A build that could not begin is not passed over.
                if eligible.contains(&build.id) {
                    *left -= 1;
                    assert!(*left >= 0, "seed {seed}: {build:?} is passed over too often");
                }
            }
        }
    }
    while !queue.running.is_empty() {
        queue.finish(0).await;
        while queue.take().await.is_some() {}
    }
    assert!(queue.waiting.is_empty(), "seed {seed}: nobody waits for ever");
}

#[tokio::test]
async fn whoever_comes_when_nobody_waits_for_ever() {
    for seed in 1..=8 {
        simulate(seed * 7919, Limits { total: 3, team: 3, project: 3 }).await;
        simulate(seed * 104_729, Limits { total: 1, team: 1, project: 1 }).await;
        simulate(seed * 1_299_709, Limits { total: 4, team: 2, project: 1 }).await;
    }
}

#[tokio::test]
async fn production_goes_before_previews_that_wait_for_four_turns_at_most() {
    let mut queue = Queue::of(1).await;
    let preview = queue.ask(1, 0, 1, 2).await;
    let mut order = vec![];
    for n in 1..=8 {
        queue.ask(1, n, 1, 0).await;
        let taken = queue.take().await.unwrap();
        order.push(taken.rank);
        if taken.id == preview.id {
            break;
        }
        queue.finish(0).await;
    }
    assert_eq!(order, [0, 0, 0, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_that_claim_at_once_never_exceed_a_limit() {
    let limits = Limits { total: 5, team: 3, project: 2 };
    let mut queue = Queue::start(limits).await;
    let mut dice = Dice(42);
    for n in 0..150 {
        let (team, project) = (dice.below(4), dice.below(3));
        queue.ask(team, project, n, dice.below(3)).await;
    }
    let servers = [queue.pool.clone(), pool::connect(&queue._bus.db.url(), 20).await.unwrap()];
    let over = "SELECT count(*) > 5
                  OR EXISTS (SELECT FROM work WHERE state = 'running' GROUP BY payload ->> 'team_id' HAVING count(*) > 3)
                  OR EXISTS (SELECT FROM work WHERE state = 'running' GROUP BY payload ->> 'project_id' HAVING count(*) > 2)
                FROM work WHERE state = 'running'";
    let left = "SELECT count(*) FROM work WHERE state <> 'done'";
    let taken = join_all((0..16).map(|n| {
        let server = &servers[n % 2];
        async move {
            let mut taken = 0;
            while sqlx::query_scalar::<_, i64>(left).fetch_one(server).await.unwrap() > 0 {
                let Some(claimed) = queue::claim(server, limits, "w", LEASE).await.unwrap() else {
                    continue;
                };
                assert!(
                    !sqlx::query_scalar::<_, bool>(over).fetch_one(server).await.unwrap(),
                    "too many run"
                );
                work::finish(server, claimed.id, claimed.fence).await.unwrap();
                taken += 1;
            }
            taken
        }
    }))
    .await;
    assert_eq!(taken.iter().sum::<i32>(), 150, "each once");
}

#[tokio::test]
async fn a_lost_build_is_taken_over_at_once_though_all_slots_are_taken() {
    let mut queue = Queue::of(1).await;
    let first = queue.ask(1, 1, 1, 0).await;
    queue.ask(2, 1, 1, 0).await;
    let taken = queue.look().await.unwrap();
    assert!(queue.look().await.is_none());
    let late = "UPDATE work SET lease_until = now() - interval '1 s' WHERE state = 'running'";
    sqlx::query(late).execute(&queue.pool).await.unwrap();
    let again = queue::claim(&queue.pool, queue.limits, "other", LEASE).await.unwrap().unwrap();
    assert_eq!((again.key, again.attempts, again.is_taken_over), (first.id, 2, true));
    assert!(again.fence > taken.fence);
    assert_eq!(again.last_error.as_deref(), Some("the worker was lost"));
    work::give_back(&queue.pool, again.id, again.fence).await.unwrap();
    let third = queue.look().await.unwrap();
    assert_eq!((third.attempts, third.is_taken_over), (1, false), "a server that stops is no try");
}

#[tokio::test]
async fn a_newer_build_gets_the_place_of_the_one_that_it_makes_needless() {
    let mut queue = Queue::of(1).await;
    queue.ask(1, 9, 1, 0).await;
    queue.take().await.unwrap();
    let older = queue.ask(1, 1, 1, 0).await;
    let other = queue.ask(1, 2, 1, 0).await;
    let newer = queue.ask(1, 1, 1, 0).await;
    assert_eq!(queue.place(&older).await, (WaitingFor::EnvironmentBusy, 0));
    let mut db = queue.pool.acquire().await.unwrap();
    work::withdraw(&mut db, PROCESS, &older.id, Some(&newer.id)).await.unwrap();
    queue.finish(0).await;
    assert_eq!(queue.take().await.unwrap().id, newer.id);
    queue.finish(0).await;
    assert_eq!(queue.take().await.unwrap().id, other.id);
}

#[tokio::test]
async fn a_queued_build_says_what_it_waits_for() {
    let mut queue = Queue::start(Limits { total: 3, team: 2, project: 1 }).await;
    queue.ask(1, 1, 1, 0).await;
    let same_environment = queue.ask(1, 1, 1, 0).await;
    let taken = queue.take().await.unwrap();
    assert_eq!(taken.id, same_environment.id, "the newer");
    let same_environment = queue.ask(1, 1, 1, 0).await;
    let same_project = queue.ask(1, 1, 2, 0).await;
    assert_eq!(queue.place(&same_environment).await, (WaitingFor::EnvironmentBusy, 0));
    assert_eq!(queue.place(&same_project).await, (WaitingFor::ProjectLimit, 1));
    queue.ask(1, 2, 1, 0).await;
    queue.take().await.unwrap();
    let same_team = queue.ask(1, 3, 1, 2).await;
    assert_eq!(queue.place(&same_team).await, (WaitingFor::TeamLimit, 2));
    let other_team = queue.ask(2, 1, 1, 0).await;
    assert_eq!(queue.place(&other_team).await, (WaitingFor::Worker, 0));
    queue.take().await.unwrap();
    let another = queue.ask(3, 1, 1, 0).await;
    assert_eq!(queue.place(&another).await, (WaitingFor::GlobalLimit, 0));
    let (_, claimed) = &queue.running[2];
    let pause = Duration::from_secs(60);
    work::retry(&queue.pool, claimed.id, claimed.fence, pause, "no registry").await.unwrap();
    assert_eq!(queue.place(&other_team).await, (WaitingFor::Retry, 0));
}
