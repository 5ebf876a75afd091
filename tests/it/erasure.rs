//! Who is erased is nowhere any more: not in a dump of the database, not in the files of the data dir, not after every
//! read model was built anew, not after the restore of an older backup.

use std::collections::BTreeSet;
use std::process::Output;
use std::time::Duration;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{PASSWORD, TestApp, program};
use tests::client::{Answer, Client};
use tests::people::join;
use tests::postgres::TestDb;
use tests::world::team;
use tokio::process::Command;
use uuid::Uuid;

const EMAIL: &str = "zwetschgenmus-zacharias@personal.example";
const FIRST: &str = "Zachariasvonundzu";
const LAST: &str = "Zwetschgenknödel☃";
const PHOTO: &str = "https://pictures.example/zwetschgen-portrait.png";
const AGENT: &str = "Zwetschgenbrowser/7.7 (Pflaumen)";
/// From where everybody comes in a test.
const ADDRESS: &str = "127.0.0.1";

/// Everything about somebody that may be nowhere.
fn personal() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for text in [EMAIL, FIRST, LAST, PHOTO, AGENT, ADDRESS] {
        let bytes = text.as_bytes();
        all.push((text.to_owned(), bytes.to_vec()));
        all.push((format!("hex of {text}"), hex(bytes).into_bytes()));
        // Wherever in a base64 text it begins: without the characters that what stands beside it decides too. What is
        // left is so long that no ciphertext has it by chance.
        for shift in 0..3 {
            for (name, engine) in [("base64", &STANDARD_NO_PAD), ("base64url", &URL_SAFE_NO_PAD)] {
                let encoded = engine.encode([&vec![0; shift], bytes].concat());
                let begins = [0, 2, 3][shift];
                let ends = encoded.len() - usize::from((shift + bytes.len()) % 3 != 0);
                all.push((format!("{name} of {text}"), encoded.as_bytes()[begins..ends].to_vec()));
            }
        }
        let escaped = serde_json::to_string(text).unwrap();
        all.push((format!("JSON of {text}"), escaped.trim_matches('"').as_bytes().to_vec()));
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn dump(db: &TestDb) -> Vec<u8> {
    let options = db.options();
    let socket = options.get_socket().map(|socket| socket.display().to_string());
    let mut command = Command::new("pg_dump");
    command.env("PGHOST", socket.unwrap_or_else(|| options.get_host().to_owned()));
    command.env("PGPORT", options.get_port().to_string()).env("PGUSER", options.get_username());
    command.args(["--inserts", "--dbname", options.get_database().unwrap()]);
    let output = command.output().await.expect("pg_dump is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What of the person stands in the database or in the data dir.
async fn traces(app: &TestApp) -> Vec<String> {
    let mut places = vec![("the database".to_owned(), dump(&app.db).await)];
    let mut folders = vec![app.dir.path().join("data")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => places.push((path.display().to_string(), std::fs::read(path).unwrap_or_default())),
            }
        }
    }
    let (names, needles): (Vec<_>, Vec<_>) = personal().into_iter().unzip();
    let search = AhoCorasick::new(needles).unwrap();
    let mut found = BTreeSet::new();
    for (place, bytes) in places {
        // PostgreSQL's own files say where it listens.
        let is_its_own =
            place.contains("/postgres/") && !["/base/", "/pg_wal/"].iter().any(|dir| place.contains(dir));
        let found_here = search.find_overlapping_iter(&bytes).map(|found| &names[found.pattern().as_usize()]);
        found.extend(
            found_here
                .filter(|what| !is_its_own || !what.ends_with(ADDRESS))
                .map(|what| format!("{what} in {place}")),
        );
    }
    found.into_iter().collect()
}

async fn tool(app: &TestApp, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("replay-tool"));
    command.env("DATABASE_URL", app.db.url()).env("MASTRA_ADMIN_DATA_DIR", app.dir.path().join("data"));
    command.args(arguments).output().await.expect("`cargo build --bins` makes it")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// Somebody who has left as many traces as somebody can: names, picture, sign-ins, tokens, commands with keys.
async fn somebody(app: &TestApp, owner: &Client) -> (Client, String) {
    team(owner, "acme").await;
    let joined = join(app, owner, EMAIL, Some(("acme", "admin"))).await;
    let credentials = json!({ "email": EMAIL, "password": PASSWORD });
    let sign_in = app.nobody().request(Method::POST, "/auth/login").json(&credentials);
    let signed_in = Client::send(sign_in.header("user-agent", AGENT)).await.expect(200);
    let person = app.nobody().with_token(signed_in["token"].as_str().unwrap());
    let change = json!({ "firstName": FIRST, "lastName": LAST, "photoUrl": PHOTO });
    let change = person.request(Method::PATCH, "/me").json(&change);
    let me =
        Client::send(change.header("idempotency-key", "once").header("user-agent", AGENT)).await.expect(200);
    person.post("/me/tokens", json!({ "name": "laptop" })).await.expect(201);
    // Also in the answer to somebody else.
    let id = me["id"].as_str().unwrap().to_owned();
    let promote = owner
        .request(Method::PATCH, &format!("/teams/acme/members/{id}"))
        .json(&json!({ "role": "developer" }));
    Client::send(promote.header("idempotency-key", "promoted")).await.expect(200);
    // An invite that is still open.
    team(owner, "beta").await;
    owner.post("/teams/beta/invites", json!({ "email": EMAIL, "role": "viewer" })).await.expect(201);
    app.settle().await;
    drop(joined);
    (person, id)
}

async fn erase(client: &Client, password: &str) -> Answer {
    Client::send(client.request(Method::DELETE, "/me").json(&json!({ "password": password }))).await
}

/// What everybody can see of who is erased.
async fn is_gone(app: &TestApp, owner: &Client, person: &Client, id: &str) {
    assert_eq!(person.get("/me").await.status, 401);
    let credentials = json!({ "email": EMAIL, "password": PASSWORD });
    assert_eq!(app.nobody().post("/auth/login", credentials).await.status, 401);
    let members = owner.get("/teams/acme/members").await.expect(200);
    assert!(!members.to_string().contains(id), "{members}");
    let invites = owner.get("/teams/beta/invites").await.expect(200);
    assert_eq!(invites["items"][0]["email"], "[erased]", "{invites}");
    let audit = owner.get(&format!("/teams/acme/audit?actor=user:{id}")).await.expect(200);
    for row in audit["items"].as_array().unwrap() {
        assert_eq!(row["userAgent"].as_str().unwrap_or("[erased]"), "[erased]", "{row}");
        assert_eq!(row["sourceIp"], "[erased]", "{row}");
    }
    for (table, column) in [("sessions", "user_id"), ("credentials", "user_id"), ("read.tokens", "user_id")] {
        let count = format!("SELECT count(*) FROM {table} WHERE {column} = $1");
        let id: Uuid = id.parse().unwrap();
        let rows: i64 = sqlx::query_scalar(&count).bind(id).fetch_one(app.db.pool()).await.unwrap();
        assert_eq!(rows, 0, "{table}");
    }
}

#[tokio::test]
async fn nothing_of_who_erased_himself_is_left_and_the_ledger_still_holds() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (person, id) = somebody(&app, &owner).await;
    assert_eq!(traces(&app).await, [] as [String; 0], "nothing stands there in clear even before");
    // It would be seen.
    sqlx::raw_sql(&format!(
        "CREATE TABLE seen AS SELECT encode('x{FIRST}', 'base64'), '{LAST}'::bytea, '{AGENT}'"
    ))
    .execute(app.db.pool())
    .await
    .unwrap();
    let seen = traces(&app).await;
    for text in [FIRST, LAST, AGENT] {
        assert!(seen.iter().any(|trace| trace.contains(text)), "{text}: {seen:?}");
    }
    sqlx::raw_sql("DROP TABLE seen").execute(app.db.pool()).await.unwrap();

    assert_eq!(erase(&person, "wrong").await.status, 422);
    team(&person, "own").await;
    let refused = erase(&person, PASSWORD).await;
    assert_eq!((refused.status, refused.str("code").as_str()), (409, "last_owner"));
    assert!(refused.str("detail").contains("own"), "{}", refused.text);
    person.delete("/teams/own").await.expect(200);
    let dry = person.request(Method::DELETE, "/me?dryRun=true").json(&json!({ "password": PASSWORD }));
    let shown = Client::send(dry).await.expect(200);
    assert_eq!(shown["events"].as_array().unwrap().last().unwrap()["type"], "user.erased");
    let keys = "SELECT count(*) FROM data_keys WHERE wrapped IS NOT NULL";
    let before: i64 = sqlx::query_scalar(keys).fetch_one(app.db.pool()).await.unwrap();
    erase(&person, PASSWORD).await.expect(200);
    let after: i64 = sqlx::query_scalar(keys).fetch_one(app.db.pool()).await.unwrap();
    assert_eq!(before - after, 3, "the person's key, and those of both invites");
    app.settle().await;

    is_gone(&app, &owner, &person, &id).await;
    assert_eq!(traces(&app).await, [] as [String; 0]);
    let rebuilt = tool(&app, &["rebuild", "all"]).await;
    assert!(rebuilt.status.success(), "{}", said(&rebuilt));
    is_gone(&app, &owner, &person, &id).await;
    assert_eq!(traces(&app).await, [] as [String; 0]);
    let verified = tool(&app, &["verify", "all"]).await;
    assert!(verified.status.success(), "{}", said(&verified));
    tool(&app, &["ledger", "checkpoint"]).await;
    let proved = tool(&app, &["ledger", "verify"]).await;
    assert!(proved.status.success(), "{}", said(&proved));

    // The address is free: whoever has it now is somebody else, and stays when the erasure is done again.
    let again = join(&app, &owner, EMAIL, Some(("acme", "viewer"))).await;
    assert_ne!(again.get("/me").await.str("id"), id);
    sqlx::query("SELECT erase_person($1)")
        .bind(id.parse::<Uuid>().unwrap())
        .execute(app.db.pool())
        .await
        .unwrap();
    let members = owner.get("/teams/acme/members").await.expect(200);
    assert!(members.to_string().contains(EMAIL), "{members}");
}

#[tokio::test]
async fn a_restored_backup_is_clean_again_once_a_server_starts_or_the_list_is_applied() {
    let mut app = TestApp::start().await;
    let owner = app.owner().await;
    let (person, id) = somebody(&app, &owner).await;
    app.kill().await;
    let tables = ["data_keys", "sessions", "credentials", "answers", "idempotency_keys", "claims", "work"];
    let pool = app.db.pool().clone();
    for table in tables {
        sqlx::raw_sql(&format!("CREATE TABLE backup_{table} AS SELECT * FROM {table}"))
            .execute(&pool)
            .await
            .unwrap();
    }
    sqlx::raw_sql("CREATE TABLE backup_head AS SELECT * FROM log_head").execute(&pool).await.unwrap();
    app.kill_and_restart().await;

    let shredded = tool(&app, &["shred", &id]).await;
    assert!(shredded.status.success(), "{}", said(&shredded));
    assert!(said(&tool(&app, &["shred", &id]).await).contains("before"));
    let owner = app.sign_in(tests::app::OWNER).await;
    let person = Client::new(&app.url).with_token(person.token().unwrap());
    app.wait_until("the server knows", Duration::from_secs(30), async || {
        let members = owner.get("/teams/acme/members").await.expect(200);
        !members.to_string().contains(&id)
    })
    .await;
    app.settle().await;
    is_gone(&app, &owner, &person, &id).await;
    let by: Value =
        sqlx::query_scalar("SELECT metadata FROM events WHERE event_type = 'ops.person_shredded'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(by["actor"].as_str().unwrap().starts_with("operator:"), "{by}");

    // The backup from before comes back, without its later events.
    app.kill().await;
    let mut restore = "BEGIN; SET LOCAL session_replication_role = replica;
        DELETE FROM events WHERE position > (SELECT position FROM backup_head);
        DELETE FROM ledger_checkpoints; DELETE FROM ledger_nodes; DELETE FROM consumers; DROP SCHEMA read CASCADE;"
        .to_owned();
    for table in tables {
        restore += &format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM backup_{table};");
    }
    for table in tables {
        restore += &format!("DROP TABLE backup_{table};");
    }
    sqlx::raw_sql(&(restore + "COMMIT")).execute(&pool).await.unwrap();
    app.kill_and_restart().await;
    app.settle().await;
    let owner = app.sign_in(tests::app::OWNER).await;
    let person = Client::new(&app.url).with_token(person.token().unwrap());
    is_gone(&app, &owner, &person, &id).await;
    assert_eq!(traces(&app).await, [] as [String; 0]);

    let list = app.dir.path().join("data/shredded.ndjson");
    let applied = tool(&app, &["shred", "--list", list.to_str().unwrap()]).await;
    assert!(applied.status.success() && said(&applied).contains(&id), "{}", said(&applied));
    let nobody = tool(&app, &["shred", &Uuid::now_v7().to_string()]).await;
    assert_eq!(nobody.status.code(), Some(1), "{}", said(&nobody));
}

#[tokio::test]
async fn an_erasure_that_a_crash_cut_short_is_finished() {
    let mut app = TestApp::start().await;
    let owner = app.owner().await;
    let (person, id) = somebody(&app, &owner).await;
    app.kill().await;
    // As far as it had come: the event, and nothing that follows.
    sqlx::query(
        r#"INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
           SELECT 'user', $1, max(sequence) + 1, 'user.erased', '1',
                  json_build_object('type', 'user.erased', 'provider', 'local', 'subject', $1,
                                    'email_hash', min(payload ->> 'email_hash')), '{}'
             FROM events WHERE aggregate_type = 'user' AND aggregate_id = $1"#,
    )
    .bind(&id)
    .execute(app.db.pool())
    .await
    .unwrap();
    app.kill_and_restart().await;
    app.settle().await;
    let person = Client::new(&app.url).with_token(person.token().unwrap());
    is_gone(&app, &app.owner().await, &person, &id).await;
    assert_eq!(traces(&app).await, [] as [String; 0]);
    let listed = std::fs::read_to_string(app.dir.path().join("data/shredded.ndjson")).unwrap();
    assert!(listed.contains(&id), "{listed}");
}

#[tokio::test]
async fn nothing_is_left_in_the_files_of_the_embedded_postgres_either() {
    // Without another database it runs its own, below the data dir: tables, write-ahead log, everything.
    let mut app = TestApp::start_with(&[("DATABASE_URL", "")]).await;
    let owner = app.owner().await;
    let (person, _) = somebody(&app, &owner).await;
    erase(&person, PASSWORD).await.expect(200);
    assert!(app.dir.path().join("data/postgres/base").is_dir());
    assert_eq!(traces(&app).await, [] as [String; 0]);
    app.kill_and_restart().await; // what was in memory alone is on the disk now
    assert_eq!(traces(&app).await, [] as [String; 0]);
}
