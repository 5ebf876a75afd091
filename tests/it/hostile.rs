//! Builds that do what they should not: nothing is seen, nothing is left, everything ends, and the platform answers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tests::docker;
use tests::hostile::{ATTACKS, Outcome, Siege};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_hostile_repositories_see_nothing_leave_nothing_and_end() {
    besieged(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_in_containers() {
    besieged(&docker::engine().await.settings()).await;
}

async fn besieged(runner: &[(&str, &str)]) {
    let siege = Siege::start(runner).await;
    let victim = siege.victim().await;
    let (_goes_on, mut attackers) = (victim.build(&siege.owner).await, Vec::new());
    for attack in ATTACKS {
        attackers.push(siege.attacker(attack).await);
    }
    let outcomes = join_all(attackers.iter().map(|it| siege.outcome(it))).await;
    let mut wrong = Vec::new();
    for (attack, Outcome { build, log }) in ATTACKS.into_iter().zip(&outcomes) {
        let seen = |secret: &String| log.contains(secret) || build.to_string().contains(secret);
        wrong.extend(
            siege
                .secrets
                .iter()
                .filter(|(_, secret)| seen(secret))
                .map(|(what, _)| format!("{attack} saw {what}")),
        );
        let (status, code) = (build["status"].as_str().unwrap(), build["failure"]["code"].as_str());
        let expected: &[_] = match attack {
            "memory" => &[("failed", Some("out_of_memory"))],
            "disk" => &[("failed", Some("out_of_disk"))],
            "symlink" => &[("failed", Some("packaging_failed"))],
            "tar" => &[("ready", None), ("failed", Some("packaging_failed"))],
            // Whatever becomes of them, it is over.
            "fork" | "log" => {
                &[("ready", None), ("failed", Some("build_failed")), ("failed", Some("timed_out"))]
            }
            _ => &[("ready", None)],
        };
        // The end of a log that is too long is not kept.
        let is_done = status != "ready" || attack == "log" || log.contains("the attack is over");
        if !expected.contains(&(status, code)) || !is_done {
            let tail: Vec<&str> =
                log.lines().rev().take(15).map(|line| &line[..line.floor_char_boundary(300)]).collect();
            wrong.push(format!("{attack} ended as {build}\n{tail:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let log = |attack: &str| &outcomes[ATTACKS.iter().position(|one| *one == attack).unwrap()].log;
    assert!(log("log").len() < 64 << 20, "a log has a limit: {}", log("log").len());
    let echoed = log("echo");
    assert_eq!(echoed.matches("***").count(), 30, "each form, each way:\n{echoed}");
    assert!(!echoed.contains("SECRET") && !echoed.contains("U0VDUkVU"), "{echoed}");
    assert_eq!(siege.knocks.load(Ordering::Relaxed), 0, "nobody gets through to loopback:\n{}", log("scan"));
    assert_eq!(std::fs::read_dir(&siege.loot).unwrap().count(), 0, "nothing was written outside");
    siege
        .app
        .wait_until("nothing is left behind", Duration::from_secs(5), async || siege.daemons().is_empty())
        .await;
}
