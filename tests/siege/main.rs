//! The siege: while people change things and build, the server is killed, its clock is put forward and back, and
//! PostgreSQL is taken away, again and again. Then nothing that was answered is lost, nothing was done twice, nothing
//! is stuck, and the tables are what the log says.
//!
//! `make test` runs a short one, `make faults` the long one (`FAULTS=all`). It is a program of its own so that nothing else
//! runs beside it: builds that have nobody to disturb them have to end in time.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed, in its helpers too")]

mod aftermath;
mod besieged;
mod people;

use std::time::Duration;

use futures_util::future::join_all;
use tests::chance::below;

use besieged::Besieged;
use people::{Calm, build, write};

/// Who changes things at a time.
const WRITERS: usize = 8;
/// Who builds at a time, each in a project of its own.
const BUILDERS: usize = 6;

/// How much of everything.
struct Scale {
    /// Times that something is done to the server.
    blows: usize,
    /// With every so manieth of them PostgreSQL ends at once, as `pg_ctl stop -m immediate` does it.
    stop_every: usize,
    builds: usize,
    /// Of each writer.
    commands: usize,
}

const SHORT: Scale = Scale { blows: 20, stop_every: 5, builds: 30, commands: 250 };
const WHOLE: Scale = Scale { blows: 100, stop_every: 5, builds: 200, commands: 1250 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_or_stuck_whatever_is_killed() {
    let scale = if std::env::var("FAULTS").is_ok_and(|wanted| wanted == "all") { WHOLE } else { SHORT };
    let mut platform = Besieged::start().await;
    let projects = platform.settle_in(WRITERS, BUILDERS).await;
    let (door, calm) = (platform.door(), Calm::default());
    let writers: Vec<_> =
        (0..WRITERS).map(|n| tokio::spawn(write(door.clone(), n, scale.commands))).collect();
    let builders: Vec<_> = projects
        .iter()
        .map(|it| tokio::spawn(build(door.clone(), it.id.clone(), calm.clone(), scale.builds)))
        .collect();

    for n in 1..=scale.blows {
        tokio::time::sleep(Duration::from_millis(500 + below(2500))).await;
        platform.put_clock(i64::try_from(below(3600)).unwrap() - 1800);
        if n % scale.stop_every == 0 {
            platform.database.stop_at_once().await;
        }
        platform.kill_and_restart().await;
    }
    calm.begin();

    let told: Vec<_> = join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    let builds: Vec<_> = join_all(builders).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!((told.len(), builds.len()), (WRITERS * scale.commands, scale.builds));
    platform.settle().await;
    aftermath::it_was_a_siege(&platform).await;
    aftermath::each_command_once(&platform, &told).await;
    aftermath::each_build_once(&platform, &builds).await;
    aftermath::everything_serves(&platform, &projects).await;
    aftermath::the_log_is_whole(&platform).await;
    aftermath::the_tables_are_what_the_log_says(&platform).await;
}
