//! Kills the server at every step of the processes beside builds and deployments: while PostgreSQL has a row in hand
//! that they write. The row is then taken back, as if it had never been sent, or stays, and nobody heard of it.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sqlx::{ConnectOptions, PgConnection};
use tests::app::{PASSWORD, TestApp};
use tests::client::Client;
use tests::people::join;
use tests::wire::Cut;
use tests::world::{project, team};

/// What whoever writes such a row waits for.
const LOCK: i64 = 42;

/// A place where a server is held up.
struct Stop {
    holder: PgConnection,
    table: &'static str,
}

impl Stop {
    /// At the next row of `table` of which the condition is true.
    async fn at(app: &TestApp, table: &'static str, condition: &str) -> Self {
        let mut holder = app.db.options().connect().await.unwrap();
        let stop = format!(
            "SELECT pg_advisory_lock({LOCK});
             CREATE OR REPLACE FUNCTION stop_here() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_advisory_xact_lock_shared({LOCK}); RETURN NEW; END $$;
             CREATE TRIGGER zz_stop BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW
             WHEN ({condition}) EXECUTE FUNCTION stop_here()"
        );
        sqlx::raw_sql(&stop).execute(&mut holder).await.unwrap();
        Self { holder, table }
    }

    /// Kills the server that waits here; its row is dropped or stays.
    async fn kill(mut self, app: &mut TestApp, cut: Cut, step: &str) {
        let waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                          AND classid = 0 AND objid = $1::bigint::oid";
        let mut pids: Vec<i32> = vec![];
        app.wait_until(step, Duration::from_secs(60), async || {
            pids = sqlx::query_scalar(waiting).bind(LOCK).fetch_all(app.db.pool()).await.unwrap();
            !pids.is_empty()
        })
        .await;
        app.kill().await;
        let end = match cut {
            Cut::Before => "SELECT bool_or(pg_terminate_backend(pid, 5000)) FROM unnest($1) pid",
            Cut::After => "SELECT $1 IS NOT NULL",
        };
        sqlx::query(end).bind(&pids).execute(&mut self.holder).await.unwrap();
        let go_on = format!("SELECT pg_advisory_unlock({LOCK}); DROP TRIGGER zz_stop ON {}", self.table);
        sqlx::raw_sql(&go_on).execute(&mut self.holder).await.unwrap();
    }
}

/// The steps that every process has, then those of its own.
fn steps(process: &str, events: &[&str]) -> Vec<(&'static str, String)> {
    let of = |state: &str| ("work", format!("NEW.process = '{process}' AND NEW.state = '{state}'"));
    let mut steps = vec![of("ready"), of("running")];
    steps.extend(events.iter().map(|event| ("events", format!("NEW.event_type = '{event}'"))));
    steps.push(of("done"));
    steps
}

/// What somebody asks for, and asks for again under the same key when no answer comes.
#[derive(Clone)]
struct Wish {
    token: String,
    method: Method,
    path: String,
    body: serde_json::Value,
    key: String,
}

impl Wish {
    /// Whatever comes of it.
    async fn ask(self, url: String) {
        let client = Client::new(&url).with_token(&self.token);
        let request = client.request(self.method, &self.path).header("idempotency-key", self.key);
        let _lost = request.json(&self.body).send().await;
    }

    /// Asks; the server is killed at its stop and started again; asks again.
    async fn survives(self, app: &mut TestApp, (table, condition): &(&'static str, String), cut: Cut) {
        let stop = Stop::at(app, table, condition).await;
        let asked = tokio::spawn(self.clone().ask(app.url.clone()));
        stop.kill(app, cut, condition).await;
        asked.await.unwrap();
        app.kill_and_restart().await;
        self.ask(app.url.clone()).await;
        app.settle().await;
    }
}

async fn events_of(app: &TestApp, event_type: &str, id: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1 AND (aggregate_id = $2 OR payload ->> 'user_id' = $2)")
        .bind(event_type)
        .bind(id)
        .fetch_one(app.db.pool())
        .await
        .unwrap()
}

/// What failed on the way is tried again after a while: that is waited for.
async fn assert_work_is_done_once(app: &TestApp, process: &str, times: i64) {
    let done = ("done".to_owned(), times);
    app.wait_until("all work is done", Duration::from_secs(120), async || {
        let states: Vec<(String, i64)> =
            sqlx::query_as("SELECT state, count(*) FROM work WHERE process = $1 GROUP BY state")
                .bind(process)
                .fetch_all(app.db.pool())
                .await
                .unwrap();
        assert!(states.iter().map(|(_, rows)| rows).sum::<i64>() <= times, "{process}: {states:?}");
        states.as_slice() == std::slice::from_ref(&done)
    })
    .await;
    app.settle().await;
}

async fn invites_are_mailed(cut: Cut) {
    let mut app = TestApp::start().await;
    let owner = app.owner().await;
    let token = owner.token().unwrap().to_owned();
    team(&owner, "acme").await;
    let steps = steps("deliver_invite", &[]);
    for (n, step) in steps.iter().enumerate() {
        app.settle().await;
        let wish = Wish {
            token: token.clone(),
            method: Method::POST,
            path: "/teams/acme/invites".to_owned(),
            body: json!({ "email": format!("ann-{n}@example.org"), "role": "viewer" }),
            key: n.to_string(),
        };
        wish.survives(&mut app, step, cut).await;
        assert_work_is_done_once(&app, "deliver_invite", i64::try_from(n).unwrap() + 1).await;
    }
    let mails: Vec<String> = std::fs::read_dir(app.dir.path().join("mail"))
        .unwrap()
        .map(|mail| std::fs::read_to_string(mail.unwrap().path()).unwrap())
        .collect();
    assert_eq!(mails.len(), steps.len(), "one mail an invite: {mails:?}");
    for n in 0..steps.len() {
        let to = format!("To: ann-{n}@example.org\n");
        assert_eq!(mails.iter().filter(|mail| mail.contains(&to)).count(), 1, "{to}");
    }
}

async fn people_are_erased(cut: Cut) {
    let mut app = TestApp::start().await;
    let token = app.owner().await.token().unwrap().to_owned();
    team(&app.nobody().with_token(&token), "acme").await;
    let steps = steps("erase_person", &["team.member_removed"]);
    for (n, step) in steps.iter().enumerate() {
        let owner = app.nobody().with_token(&token);
        let email = format!("ann-{n}@example.org");
        let person = join(&app, &owner, &email, Some(("acme", "viewer"))).await;
        let id = person.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned();
        app.settle().await;
        let wish = Wish {
            token: person.token().unwrap().to_owned(),
            method: Method::DELETE,
            path: "/me".to_owned(),
            body: json!({ "password": PASSWORD }),
            key: n.to_string(),
        };
        wish.survives(&mut app, step, cut).await;
        assert_work_is_done_once(&app, "erase_person", i64::try_from(n).unwrap() + 1).await;
        for event_type in ["user.erased", "team.member_removed"] {
            assert_eq!(events_of(&app, event_type, &id).await, 1, "{event_type}, {cut:?} {step:?}");
        }
        let keys: i64 =
            sqlx::query_scalar("SELECT count(*) FROM data_keys WHERE owner = $1 AND wrapped IS NOT NULL")
                .bind(format!("user:{id}"))
                .fetch_one(app.db.pool())
                .await
                .unwrap();
        assert_eq!(keys, 0, "{cut:?} {step:?}");
        let members = app.nobody().with_token(&token).get("/teams/acme/members").await.expect(200);
        assert_eq!(members["items"].as_array().unwrap().len(), 1, "{members}");
    }
}

async fn deleted_projects_leave_nothing(cut: Cut) {
    let mut app = TestApp::start().await;
    let token = app.owner().await.token().unwrap().to_owned();
    team(&app.nobody().with_token(&token), "acme").await;
    let repository = app.repository("tiny", "tiny");
    let steps = steps("leave_nothing", &["deployment.stopped"]);
    for (n, step) in steps.iter().enumerate() {
        let owner = app.nobody().with_token(&token);
        let it = project(&owner, "acme", &format!("agent-{n}"), &repository, json!({})).await;
        let deployment = it.deployed(&app, &owner).await["id"].as_str().unwrap().to_owned();
        app.settle().await;
        let wish = Wish {
            token: token.clone(),
            method: Method::DELETE,
            path: format!("/projects/{}", it.id),
            body: json!({}),
            key: n.to_string(),
        };
        wish.survives(&mut app, step, cut).await;
        assert_work_is_done_once(&app, "leave_nothing", i64::try_from(n).unwrap() + 1).await;
        assert_eq!(events_of(&app, "deployment.stopped", &deployment).await, 1, "{cut:?} {step:?}");
        assert_eq!(events_of(&app, "project.deleted", &it.id).await, 1, "{cut:?} {step:?}");
        let owner = app.nobody().with_token(&token);
        assert_eq!(it.ask(&owner, "/api/version").await.status, 404, "nothing serves any more");
    }
}

#[tokio::test]
async fn an_invite_whose_server_is_killed_before_it_could_say_so_is_mailed_once() {
    invites_are_mailed(Cut::Before).await;
}

#[tokio::test]
async fn an_invite_whose_server_is_killed_before_it_heard_of_it_is_mailed_once() {
    invites_are_mailed(Cut::After).await;
}

#[tokio::test]
async fn an_erasure_whose_server_is_killed_before_it_could_say_so_is_finished() {
    people_are_erased(Cut::Before).await;
}

#[tokio::test]
async fn an_erasure_whose_server_is_killed_before_it_heard_of_it_is_finished() {
    people_are_erased(Cut::After).await;
}

#[tokio::test]
async fn a_deletion_whose_server_is_killed_before_it_could_say_so_leaves_nothing() {
    deleted_projects_leave_nothing(Cut::Before).await;
}

#[tokio::test]
async fn a_deletion_whose_server_is_killed_before_it_heard_of_it_leaves_nothing() {
    deleted_projects_leave_nothing(Cut::After).await;
}
