//! One thing, many who want it at the same moment: one gets it, nobody sees an error of ours, and the log has it once.
//!
//! Each race is run twice: all at one server, and at two servers on one database.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{Another, PASSWORD, TestApp};
use tests::client::{Answer, Client};
use tests::people::{join, mailed_token};
use tests::world::team;

/// So many at once.
const RACERS: usize = 32;
/// Nobody fetches it: nothing is built here.
const REPOSITORY: &str = "https://git.example.org/acme/agent.git";

/// Two servers on one database.
struct Arena {
    app: TestApp,
    other: Another,
}

impl Arena {
    async fn open() -> Self {
        let app = TestApp::start().await;
        let other = app.another().await;
        Self { app, other }
    }

    /// Somebody at one server, then at both.
    fn doors(&self, client: &Client) -> [Vec<Client>; 2] {
        let other = Client::new(&self.other.url);
        let other = client.token().map_or(other.clone(), |token| other.with_token(token));
        [vec![client.clone()], vec![client.clone(), other]]
    }

    /// How many events there are of a type with this text in their payload.
    async fn logged(&self, event_type: &str, text: &str) -> i64 {
        sqlx::query_scalar(
            "SELECT count(*) FROM events WHERE event_type = $1 AND position(to_json($2::text)::text IN payload::text) > 0",
        )
        .bind(event_type)
        .bind(text)
        .fetch_one(self.app.db.pool())
        .await
        .unwrap()
    }

    async fn users(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'user.registered'")
            .fetch_one(self.app.db.pool())
            .await
            .unwrap()
    }

    /// The log is whole: positions without holes, one head.
    async fn is_whole(&self) {
        let (count, last, head): (i64, i64, i64) =
            sqlx::query_as("SELECT count(*), max(position), (SELECT position FROM log_head) FROM events")
                .fetch_one(self.app.db.pool())
                .await
                .unwrap();
        assert_eq!((last, head), (count, count));
    }
}

/// Sends requests at once, to the servers in turn.
async fn race(
    doors: &[Client],
    racers: usize,
    request: impl Fn(usize) -> (Method, String, Value),
) -> Vec<Answer> {
    let requests = (0..racers).map(|racer| {
        let (method, path, body) = request(racer);
        Client::send(doors[racer % doors.len()].request(method, &path).json(&body))
    });
    join_all(requests).await
}

/// Exactly one was told that it did it, all others one of these; answers what the one was told.
fn one_won(answers: &[Answer], won: u16, lost: &[u16]) -> Answer {
    let told: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    let (winners, losers): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == won);
    assert_eq!(winners.len(), 1, "{told:?}");
    let odd = losers.iter().find(|answer| !lost.contains(&answer.status));
    assert!(odd.is_none(), "{told:?}: {}", odd.unwrap().text);
    winners[0].clone()
}

#[tokio::test]
async fn a_slug_of_a_team_goes_to_one() {
    let arena = Arena::open().await;
    let owner = arena.app.owner().await;
    for (doors, slug) in arena.doors(&owner).iter().zip(["one", "two"]) {
        let answers = race(doors, RACERS, |racer| {
            (Method::POST, "/teams".to_owned(), json!({ "name": format!("Team {racer}"), "slug": slug }))
        })
        .await;
        let won = one_won(&answers, 201, &[409]);
        assert!(answers.iter().all(|it| it.status == 201 || it.str("code") == "slug_taken"));
        assert_eq!(arena.logged("team.created", slug).await, 1);
        arena.app.settle().await;
        let shown = owner.get(&format!("/teams/{slug}")).await.expect(200);
        assert_eq!((&shown["id"], &shown["name"]), (&won.body["id"], &won.body["name"]));
    }
    arena.is_whole().await;
}

#[tokio::test]
async fn a_slug_of_a_project_goes_to_one_in_its_team() {
    let arena = Arena::open().await;
    let owner = arena.app.owner().await;
    let (acme, bolt) = (team(&owner, "acme").await, team(&owner, "bolt").await);
    for (doors, slug) in arena.doors(&owner).iter().zip(["one", "two"]) {
        let answers = race(doors, RACERS, |racer| {
            // Another team has names of its own: two races at once.
            let team = if racer / 2 % 2 == 0 { "acme" } else { "bolt" };
            let body = json!({
                "name": format!("Agent {racer}"), "slug": slug, "repoUrl": REPOSITORY, "branch": "main"
            });
            (Method::POST, format!("/teams/{team}/projects"), body)
        })
        .await;
        for (number, team) in [&acme, &bolt].into_iter().enumerate() {
            let of_team: Vec<_> =
                (0..RACERS).filter(|it| it / 2 % 2 == number).map(|it| answers[it].clone()).collect();
            let won = one_won(&of_team, 201, &[409]);
            assert_eq!(won.body["teamId"], team["id"]);
            assert!(of_team.iter().all(|it| it.status == 201 || it.str("code") == "slug_taken"));
        }
        assert_eq!(arena.logged("project.created", slug).await, 2, "one a team");
    }
    arena.is_whole().await;
}

#[tokio::test]
async fn an_address_becomes_one_user() {
    let arena = Arena::open().await;
    let owner = arena.app.owner().await;
    let teams = ["a", "b", "c", "d"];
    for slug in teams {
        team(&owner, slug).await;
    }
    for (doors, email) in arena.doors(&arena.app.nobody()).iter().zip(["ann@example.org", "bob@example.org"])
    {
        // Invited by several teams, so that it is the address and not the invite that is fought for.
        let mut tokens = vec![];
        for slug in teams {
            let body = json!({ "email": email, "role": "viewer" });
            let invite = owner.post(&format!("/teams/{slug}/invites"), body).await.expect(201);
            tokens.push(mailed_token(&arena.app, invite["id"].as_str().unwrap()).await);
        }
        arena.app.settle().await;
        let users = arena.users().await;
        let answers = race(doors, RACERS, |racer| {
            let body = json!({
                "inviteToken": tokens[racer / 2 % teams.len()], "email": email, "password": PASSWORD,
                "firstName": "Ann", "lastName": format!("Number {racer}")
            });
            (Method::POST, "/auth/register".to_owned(), body)
        })
        .await;
        // Late ones find their invite used, and many such tries are slowed down.
        one_won(&answers, 201, &[409, 410, 429]);
        assert!(answers.iter().any(|it| it.status == 409 && it.str("code") == "email_taken"));
        assert_eq!(arena.users().await, users + 1);
        let me = arena.app.sign_in(email).await.get("/me").await.expect(200);
        let id = me["id"].as_str().unwrap();
        assert_eq!(arena.logged("team.invite_accepted", id).await, 1);
        assert_eq!(arena.logged("team.member_added", id).await, 1);
    }
    arena.is_whole().await;
}

#[tokio::test]
async fn an_address_is_invited_by_one() {
    let arena = Arena::open().await;
    let owner = arena.app.owner().await;
    team(&owner, "acme").await;
    for (doors, email) in arena.doors(&owner).iter().zip(["ann@example.org", "bob@example.org"]) {
        let answers = race(doors, RACERS, |_| {
            (Method::POST, "/teams/acme/invites".to_owned(), json!({ "email": email, "role": "viewer" }))
        })
        .await;
        let won = one_won(&answers, 201, &[409]);
        assert!(answers.iter().all(|it| it.status == 201 || it.str("code") == "already_invited"));
        assert_eq!(arena.logged("team.member_invited", &won.str("id")).await, 1);
    }
    assert_eq!(arena.logged("team.member_invited", "viewer").await, 2, "one an address");
    arena.is_whole().await;
}

#[tokio::test]
async fn an_invite_is_accepted_once_however_often_it_is_sent() {
    let arena = Arena::open().await;
    let owner = arena.app.owner().await;
    let ann = join(&arena.app, &owner, "ann@example.org", None).await;
    for (doors, slug) in arena.doors(&ann).iter().zip(["one", "two"]) {
        team(&owner, slug).await;
        let body = json!({ "email": "ann@example.org", "role": "viewer" });
        let invite = owner.post(&format!("/teams/{slug}/invites"), body).await.expect(201);
        let id = invite["id"].as_str().unwrap();
        let token = mailed_token(&arena.app, id).await;
        let answers =
            race(doors, RACERS, |_| (Method::POST, "/invites/accept".to_owned(), json!({ "token": token })))
                .await;
        // The same person asks for the same thing: told the same, done once.
        for answer in answers {
            answer.expect(200);
        }
        assert_eq!(arena.logged("team.invite_accepted", id).await, 1);
        let me = ann.get("/me").await.expect(200);
        // The lobby, through which she became a user, and this team.
        let teams = if slug == "one" { 2 } else { 3 };
        assert_eq!(arena.logged("team.member_added", me["id"].as_str().unwrap()).await, teams);
    }
    arena.is_whole().await;
}

#[tokio::test]
async fn an_invite_that_is_accepted_and_revoked_at_once_ends_once() {
    let arena = Arena::open().await;
    let owner = arena.app.owner().await;
    let ann = join(&arena.app, &owner, "ann@example.org", None).await;
    let (anns, owners) = (arena.doors(&ann), arena.doors(&owner));
    for (number, (anns, owners)) in anns.iter().zip(&owners).enumerate() {
        let slug = ["one", "two"][number];
        team(&owner, slug).await;
        let body = json!({ "email": "ann@example.org", "role": "viewer" });
        let invite = owner.post(&format!("/teams/{slug}/invites"), body).await.expect(201);
        let id = invite["id"].as_str().unwrap();
        let token = mailed_token(&arena.app, id).await;
        let (accepts, revokes) = tokio::join!(
            race(anns, RACERS / 2, |_| {
                (Method::POST, "/invites/accept".to_owned(), json!({ "token": token }))
            }),
            race(owners, RACERS / 2, |_| {
                (Method::DELETE, format!("/teams/{slug}/invites/{id}"), json!({}))
            }),
        );
        let accepted = arena.logged("team.invite_accepted", id).await;
        let revoked = arena.logged("team.invite_revoked", id).await;
        assert_eq!(accepted + revoked, 1, "it ends once");
        let (accepting, revoking) = if accepted == 1 { (200, 410) } else { (410, 200) };
        for (answers, expected) in [(accepts, accepting), (revokes, revoking)] {
            let told: Vec<_> = answers.iter().map(|answer| answer.status).collect();
            assert!(told.iter().all(|status| *status == expected), "{told:?}, not {expected}");
        }
        arena.app.settle().await;
        let seen = if accepted == 1 { 200 } else { 404 };
        assert_eq!(ann.get(&format!("/teams/{slug}")).await.status, seen);
    }
    arena.is_whole().await;
}

#[tokio::test]
async fn a_team_keeps_an_owner_however_many_owners_go_at_once() {
    let arena = Arena::open().await;
    let owner = arena.app.owner().await;
    let acme = team(&owner, "acme").await;
    let mut owners = vec![owner.clone()];
    for name in ["a", "b", "c"] {
        owners.push(join(&arena.app, &owner, &format!("{name}@example.org"), Some(("acme", "owner"))).await);
    }
    let mut ids = vec![];
    for person in &owners {
        ids.push(person.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned());
    }
    let doors: Vec<_> = owners.iter().map(|person| arena.doors(person)[1].clone()).collect();
    let tries = (0..200).map(|n| {
        let (me, server) = (n % 4, n / 4 % 2);
        let door = &doors[me][server];
        // They leave, step down, put each other out, hand over, and have themselves erased.
        let (method, path, body) = match n / 8 % 5 {
            0 => (Method::DELETE, format!("/teams/acme/members/{}", ids[me]), json!({})),
            1 => (Method::PATCH, format!("/teams/acme/members/{}", ids[me]), json!({ "role": "viewer" })),
            2 => (Method::DELETE, format!("/teams/acme/members/{}", ids[(me + 1) % 4]), json!({})),
            3 => (Method::POST, "/teams/acme/transfer".to_owned(), json!({ "userId": ids[(me + 1) % 4] })),
            _ => (Method::DELETE, "/me".to_owned(), json!({ "password": PASSWORD })),
        };
        Client::send(door.request(method, &path).json(&body))
    });
    let answers = join_all(tries).await;
    let odd = answers.iter().find(|answer| ![200, 401, 403, 404, 409].contains(&answer.status));
    assert!(odd.is_none(), "{} {}", odd.unwrap().status, odd.unwrap().text);
    arena.app.settle().await;
    let left: Vec<String> = sqlx::query_scalar(
        "SELECT user_id::text FROM read.team_members WHERE team_id = ($1::text)::uuid AND role = 'owner'",
    )
    .bind(acme["id"].as_str().unwrap())
    .fetch_all(arena.app.db.pool())
    .await
    .unwrap();
    assert!(!left.is_empty(), "the team has an owner");
    let erased: Vec<String> =
        sqlx::query_scalar("SELECT aggregate_id FROM events WHERE event_type = 'user.erased'")
            .fetch_all(arena.app.db.pool())
            .await
            .unwrap();
    assert!(left.iter().any(|id| !erased.contains(id)), "an owner who is somebody");
    arena.is_whole().await;
}

#[tokio::test]
async fn edits_that_would_make_a_circle_of_roles_together_never_do() {
    let arena = Arena::open().await;
    let owner = arena.app.owner().await;
    team(&owner, "acme").await;
    for doors in arena.doors(&owner) {
        let mut ids = vec![];
        for name in ["One", "Two", "Three"] {
            let role = json!({ "name": name, "permissions": [{ "resource": "build", "action": "read" }] });
            ids.push(
                owner.post("/teams/acme/roles", role).await.expect(201)["id"].as_str().unwrap().to_owned(),
            );
        }
        for _ in 0..6 {
            let answers = race(&doors, ids.len(), |n| {
                let parent = &ids[(n + 1) % ids.len()];
                (Method::PATCH, format!("/roles/{}", ids[n]), json!({ "inherits": [parent] }))
            })
            .await;
            for answer in &answers {
                assert!([200, 409, 422].contains(&answer.status), "{}", answer.text);
            }
            let roles = owner.get("/teams/acme/roles").await.expect(200);
            let parent_of = |id: &str| -> Option<String> {
                let role = roles["items"].as_array().unwrap().iter().find(|role| role["id"] == id)?;
                role["inherits"][0].as_str().map(str::to_owned)
            };
            let linked = ids.iter().filter(|id| parent_of(id).is_some()).count();
            let done = answers.iter().filter(|answer| answer.status == 200).count();
            assert_eq!(linked, done, "what was answered with 200 is so: {roles}");
            assert!((1..ids.len()).contains(&linked), "a circle: {roles}");
            for id in &ids {
                owner.patch(&format!("/roles/{id}"), json!({ "inherits": [] })).await.expect(200);
            }
        }
        for id in &ids {
            owner.delete(&format!("/roles/{id}")).await.expect(200);
        }
    }
    arena.is_whole().await;
}
