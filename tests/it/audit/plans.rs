//! How PostgreSQL finds rows among 200,000: by an index, in the order they are shown, or by their words.

use std::time::{Duration, Instant};

use chrono::DateTime;
use domain::ids::TeamId;
use projections::audit_trail::{self, Filter};
use projections::{pool, read_models, rebuild};
use tests::bus::Bus;
use tests::trail::{self, BUSY, SOMEBODY};
use uuid::Uuid;

#[tokio::test]
async fn no_question_reads_the_whole_trail() {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 4).await.unwrap();
    rebuild::prepare(&pool, &read_models()).await.unwrap();
    let team = TeamId(Uuid::now_v7());
    trail::fill(&pool, team.0, 200_000).await;
    let text = |text: &str| Some(text.to_owned());
    let project = sqlx::query_scalar("SELECT md5('project7')::uuid").fetch_one(&pool).await.unwrap();
    let project: Uuid = project;
    let at = |seconds: i64| DateTime::from_timestamp(1_735_689_600 + seconds, 0);
    for (what, filter, found) in [
        ("nothing", Filter::default(), 50),
        ("the busiest actor", Filter { actor: text(BUSY), ..Filter::default() }, 50),
        ("another actor", Filter { actor: text(SOMEBODY), ..Filter::default() }, 50),
        ("a rare action", Filter { action: text("team.deleted"), ..Filter::default() }, 20),
        ("a kind", Filter { resource: text("user"), ..Filter::default() }, 50),
        ("one thing", Filter { resource_id: Some(project.to_string()), ..Filter::default() }, 50),
        ("one project", Filter { project: Some(project.into()), ..Filter::default() }, 50),
        ("denials", Filter { outcome: text("denied"), ..Filter::default() }, 50),
        ("an hour long ago", Filter { from: at(3_600), to: at(7_200), ..Filter::default() }, 50),
        ("a common word", Filter { text: text("api"), ..Filter::default() }, 50),
        ("a rare word", Filter { text: text("c4ca42"), ..Filter::default() }, 50),
        ("the middle of a name", Filter { text: text("nthropic"), ..Filter::default() }, 50),
        ("words that never meet", Filter { text: text("openai anthropic"), ..Filter::default() }, 0),
        ("a word that nobody wrote", Filter { text: text("zzyzx"), ..Filter::default() }, 0),
    ] {
        let plan = audit_trail::explain(&pool, team, &filter, 50).await.unwrap();
        assert!(!plan.contains("Seq Scan"), "{what}:\n{plan}");
        let start = Instant::now();
        let rows = audit_trail::newest(&pool, team, &filter, None, 50).await.unwrap();
        let took = start.elapsed();
        assert_eq!(rows.len(), found, "{what}");
        assert!(rows.is_sorted_by_key(|row| std::cmp::Reverse((row.at, row.position))), "{what}");
        assert!(rows.iter().all(|row| row.team_id == Some(team)), "{what}");
        assert!(took < Duration::from_secs(2), "{what} took {took:?}:\n{plan}");
    }
}
