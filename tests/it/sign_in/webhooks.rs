//! What Clerk tells by its webhooks, signed by Svix's own library: people, organizations and who belongs to them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{PASSWORD, TestApp};
use tests::client::Client;
use tests::oidc::{Browser, Peer, person};
use tests::people::{join, mailed_token};
use tests::svix::{SECRET, Signer, deliver};

const CLERK: (&str, &str, &str, &str) = ("clerk", "clerk", "/clerk", "x");
const PATH: &str = "//api/webhooks/clerk";

async fn start(peer: &Peer) -> (TestApp, Signer) {
    start_at(peer, CLERK).await
}

async fn start_at(peer: &Peer, provider: (&str, &str, &str, &str)) -> (TestApp, Signer) {
    let name = |setting: &str| format!("MASTRA_ADMIN_AUTH_{}_{setting}", provider.0.to_uppercase());
    let (secret, parties) = (name("WEBHOOK_SECRET"), name("AUTHORIZED_PARTIES"));
    let settings = [(secret.as_str(), SECRET), (parties.as_str(), "http://localhost:3000")];
    (peer.app(&[provider], &settings).await, Signer::start().await)
}

fn event(kind: &str, millis: i64, data: Value) -> Value {
    json!({ "object": "event", "type": kind, "timestamp": 1_700_000_000_000_i64 + millis, "data": data })
}

fn user(kind: &str, millis: i64, id: &str, name: &str) -> Value {
    event(
        kind,
        millis,
        json!({ "id": id, "first_name": name, "last_name": "King",
        "primary_email_address_id": "idn_1", "email_addresses": [
            { "id": "idn_1", "email_address": format!("{id}@example.test"), "verification": { "status": "verified" } }
        ] }),
    )
}

fn organization(id: &str, name: &str, created_by: &str) -> Value {
    json!({ "id": id, "name": name, "slug": id.replace('_', "-"), "created_by": created_by })
}

fn membership(kind: &str, millis: i64, user: &str, role: &str) -> Value {
    event(
        kind,
        millis,
        json!({ "id": "orgmem_1", "role": role, "public_user_data": { "user_id": user },
        "organization": organization("org_1", "Acme", "user_1") }),
    )
}

async fn count(app: &TestApp, kind: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1")
        .bind(kind)
        .fetch_one(app.db.pool())
        .await
        .unwrap()
}

/// Somebody with a session token of Clerk's.
async fn signed_in(app: &TestApp, peer: &Peer, subject: &str) -> Client {
    let token = peer.mint(json!({ "issuer": "clerk", "claims": { "sub": subject } })).await;
    app.nobody().with_token(&token)
}

async fn members(client: &Client) -> Vec<(String, String)> {
    let listed = client.get("/teams/org-1/members").await.expect(200);
    let pair = |it: &Value| (it["firstName"].as_str().unwrap().into(), it["role"].as_str().unwrap().into());
    let mut all: Vec<_> = listed["items"].as_array().unwrap().iter().map(pair).collect();
    all.sort();
    all
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, role)| ((*name).to_owned(), (*role).to_owned())).collect()
}

#[tokio::test]
async fn people_organizations_and_members_become_users_teams_and_members() {
    let peer = Peer::start().await;
    let (app, mut clerk) = start(&peer).await;
    let nobody = app.nobody();
    for (it, outcome) in [
        (user("user.created", 1, "user_1", "Ada"), "changed"),
        (user("user.created", 1, "user_2", "Bob"), "changed"),
        (event("organization.created", 2, organization("org_1", "Acme", "user_1")), "changed"),
        (membership("organizationMembership.created", 3, "user_1", "org:admin"), "owner"),
        (membership("organizationMembership.created", 3, "user_2", "org:member"), "changed"),
        (event("session.created", 4, json!({ "id": "sess_1" })), "not_of_interest"),
    ] {
        assert_eq!(clerk.told(&nobody, PATH, &it).await, outcome, "{it}");
    }
    let ada = signed_in(&app, &peer, "user_1").await;
    assert_eq!(ada.get("/me").await.expect(200)["email"], "user_1@example.test");
    assert_eq!(members(&ada).await, pairs(&[("Ada", "owner"), ("Bob", "developer")]));

    // Who made it stays its owner, whatever the provider calls him.
    for (it, outcome) in [
        (membership("organizationMembership.updated", 5, "user_2", "org:admin"), "changed"),
        (membership("organizationMembership.updated", 5, "user_1", "org:member"), "owner"),
        (user("user.updated", 5, "user_2", "Rob"), "changed"),
        (event("organization.updated", 5, organization("org_1", "Acme & Co", "user_1")), "changed"),
        (membership("organizationMembership.deleted", 6, "user_1", "org:member"), "last_owner"),
    ] {
        assert_eq!(clerk.told(&nobody, PATH, &it).await, outcome, "{it}");
    }
    assert_eq!(ada.get("/teams/org-1").await.expect(200)["name"], "Acme & Co");
    assert_eq!(members(&ada).await, pairs(&[("Ada", "owner"), ("Rob", "admin")]));
    let gone = membership("organizationMembership.deleted", 7, "user_2", "org:admin");
    assert_eq!(clerk.told(&nobody, PATH, &gone).await, "changed");
    assert_eq!(members(&ada).await, pairs(&[("Ada", "owner")]));
    let actor = ada.get("/teams/org-1/audit").await.expect(200)["items"][0]["actor"].clone();
    assert_eq!(actor, "process:webhook-clerk");
}

#[tokio::test]
async fn news_of_a_closed_team_bring_nobody_in_and_who_is_gone_does_not_come_back_with_it() {
    let peer = Peer::start().await;
    let (app, mut clerk) = start(&peer).await;
    let nobody = app.nobody();
    for (id, name) in
        [("user_1", "Ada"), ("user_2", "Bob"), ("user_3", "Cat"), ("user_4", "Dan"), ("user_5", "Eve")]
    {
        clerk.told(&nobody, PATH, &user("user.created", 1, id, name)).await;
    }
    let made = event("organization.created", 2, organization("org_1", "Acme", "user_1"));
    assert_eq!(clerk.told(&nobody, PATH, &made).await, "changed");
    for id in ["user_2", "user_4", "user_5"] {
        let joined = membership("organizationMembership.created", 3, id, "org:admin");
        assert_eq!(clerk.told(&nobody, PATH, &joined).await, "changed");
    }
    let ada = signed_in(&app, &peer, "user_1").await;
    for (it, outcome) in [
        (event("organization.deleted", 4, json!({ "id": "org_1", "deleted": true })), "changed"),
        (membership("organizationMembership.deleted", 5, "user_2", "org:admin"), "changed"),
        (membership("organizationMembership.created", 5, "user_3", "org:member"), "gone"),
        (membership("organizationMembership.updated", 5, "user_4", "org:member"), "changed"),
        (event("user.deleted", 5, json!({ "id": "user_5", "deleted": true })), "changed"),
        (event("organization.updated", 5, organization("org_1", "Other", "user_1")), "known"),
    ] {
        assert_eq!(clerk.told(&nobody, PATH, &it).await, outcome, "{it}");
    }
    assert_eq!(ada.get("/teams/org-1").await.status, 404);
    assert_eq!(ada.post("/teams/org-1/restore", json!({})).await.expect(200)["name"], "Acme");
    assert_eq!(members(&ada).await, pairs(&[("Ada", "owner"), ("Dan", "developer")]));
}

#[tokio::test]
async fn who_is_gone_there_is_signed_out_here_and_stays_so() {
    let peer = Peer::start().await;
    // Has its keys where Clerk has them, and the code flow besides.
    let (app, mut clerk) = start_at(&peer, ("auth0", "clerk", "/auth0/", "web")).await;
    let (nobody, path) = (app.nobody(), "//api/webhooks/auth0");
    clerk.told(&nobody, path, &user("user.created", 1, "user_1", "Ada")).await;
    peer.tell("users", person("user_1", "user_1@example.test", true)).await;
    let browser = Browser::new(&app);
    let answer = browser.sign_in("auth0", "user_1").await;
    assert_eq!(answer.status, 302, "{}", answer.text);
    let session = nobody.with_token(&browser.cookie("__Host-mastra_session").unwrap());
    let me = session.get("/me").await.expect(200);
    let token = session.post("/me/tokens", json!({ "name": "ci" })).await.expect(201);
    let program = nobody.with_token(token["plainToken"].as_str().unwrap());
    program.get("/me").await.expect(200);
    let owner = app.owner().await;
    owner.post("/teams", json!({ "name": "Bolt", "slug": "bolt" })).await.expect(201);
    session.post("/teams", json!({ "name": "Own", "slug": "own" })).await.expect(201);
    let gone = event("user.deleted", 2, json!({ "id": "user_1", "deleted": true }));
    assert_eq!(clerk.told(&nobody, path, &gone).await, "changed");
    for client in [&session, &program] {
        client.get("/me").await.expect(401);
    }
    // The last owner of a team of her own stays in its list, and can do nothing.
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM read.team_members WHERE user_id = $1::uuid")
        .bind(me["id"].as_str())
        .fetch_one(app.db.pool())
        .await
        .unwrap();
    assert_eq!(left, 1);
    // Late and repeated news bring nobody back; the address is free for the next account.
    for it in [gone, user("user.updated", 3, "user_1", "Ada"), user("user.created", 1, "user_1", "Ada")] {
        assert_eq!(clerk.told(&nobody, path, &it).await, "known", "{it}");
    }
    assert_eq!(browser.sign_in("auth0", "user_1").await.expect(403)["code"], "account_disabled");
    let mut again = user("user.created", 9, "user_9", "Ada");
    again["data"]["email_addresses"][0]["email_address"] = "user_1@example.test".into();
    assert_eq!(clerk.told(&nobody, path, &again).await, "changed");
    peer.tell("users", person("user_9", "user_1@example.test", true)).await;
    let new = Browser::new(&app);
    new.sign_in("auth0", "user_9").await;
    let new = new.me().await.expect(200);
    assert_eq!((new["email"].as_str(), new["id"] == me["id"]), (Some("user_1@example.test"), false));
    assert_eq!(count(&app, "user.disabled").await, 1);
}

#[tokio::test]
async fn who_is_gone_there_hears_nothing_more_invites_nobody_and_does_not_get_in_half_way() {
    let peer = Peer::start().await;
    let (app, mut clerk) = start_at(&peer, ("auth0", "clerk", "/auth0/", "web")).await;
    let (nobody, path) = (app.nobody(), "//api/webhooks/auth0");
    clerk.told(&nobody, path, &user("user.created", 1, "user_1", "Ada")).await;
    peer.tell("users", person("user_1", "user_1@example.test", true)).await;
    let browser = Browser::new(&app);
    assert_eq!(browser.sign_in("auth0", "user_1").await.status, 302);
    let session = nobody.with_token(&browser.cookie("__Host-mastra_session").unwrap());
    session.post("/teams", json!({ "name": "Own", "slug": "own" })).await.expect(201);
    let owner = app.owner().await;
    let ann = join(&app, &owner, "ann@example.org", None).await;
    let invites =
        ["ann@example.org", "new@example.org"].map(|email| json!({ "email": email, "role": "viewer" }));
    let mut secrets = vec![];
    for invite in invites {
        let made = session.post("/teams/own/invites", invite).await.expect(201);
        secrets.push(mailed_token(&app, made["id"].as_str().unwrap()).await);
    }
    let stream = session.request(Method::GET, "/events/stream").send().await.unwrap();
    assert_eq!(stream.status(), 200);
    // He has shown the provider who he is, and is on his way back.
    let late = Browser::new(&app);
    let back = late.come_back("auth0", "user_1", "/").await;
    let sessions = count(&app, "user.signed_in").await;

    let gone = event("user.deleted", 2, json!({ "id": "user_1", "deleted": true }));
    assert_eq!(clerk.told(&nobody, path, &gone).await, "changed");
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.bytes()).await;
    assert!(ended.is_ok(), "his stream goes on");
    let refused = ann.post("/invites/accept", json!({ "token": secrets[0] })).await;
    assert_eq!((refused.status, refused.str("code").as_str()), (410, "inviter_lost_right"));
    let account = json!({
        "inviteToken": secrets[1], "email": "new@example.org", "password": PASSWORD, "firstName": "", "lastName": "",
    });
    let refused = nobody.post("/auth/register", account).await;
    assert_eq!((refused.status, refused.str("code").as_str()), (410, "inviter_lost_right"));
    assert_eq!(late.get(&back).await.expect(403)["code"], "account_disabled");
    assert!(late.cookie("__Host-mastra_session").is_none());
    assert_eq!(count(&app, "user.signed_in").await, sessions);
    assert_eq!(count(&app, "team.invite_accepted").await, 1, "ann's, of the lobby");
}

#[tokio::test]
async fn who_is_gone_before_he_came_does_not_come_and_who_was_erased_comes_only_himself() {
    let peer = Peer::start().await;
    let (app, mut clerk) = start(&peer).await;
    let nobody = app.nobody();
    let gone = |id: &str| event("user.deleted", 5, json!({ "id": id, "deleted": true }));
    assert_eq!(clerk.told(&nobody, PATH, &gone("user_7")).await, "unknown");
    let token = signed_in(&app, &peer, "user_7").await;
    assert_eq!(token.get("/me").await.expect(403)["code"], "account_disabled");
    assert_eq!(clerk.told(&nobody, PATH, &user("user.created", 1, "user_7", "Eve")).await, "known");

    clerk.told(&nobody, PATH, &user("user.created", 1, "user_8", "Ann")).await;
    let id = signed_in(&app, &peer, "user_8").await.get("/me").await.expect(200)["id"].clone();
    let shred = format!("SELECT erase_person('{}')", id.as_str().unwrap());
    sqlx::raw_sql(&shred).execute(app.db.pool()).await.unwrap();
    let known = user("user.updated", 9, "user_8", "Ann");
    assert_eq!(clerk.told(&nobody, PATH, &known).await, "known", "nothing that is told makes her anew");
    assert_eq!(clerk.told(&nobody, PATH, &gone("user_8")).await, "changed");
}

#[tokio::test]
async fn an_organization_and_its_members_that_come_at_once_are_all_there() {
    let peer = Peer::start().await;
    let (app, mut clerk) = start(&peer).await;
    let other = app.another().await;
    let clients = [app.nobody(), Client::new(&other.url)];
    for id in 1..=6 {
        clerk.told(&clients[0], PATH, &user("user.created", 1, &format!("user_{id}"), "Ann")).await;
    }
    let mut signed = Vec::new();
    for id in 1..=6 {
        let it = membership("organizationMembership.created", 3, &format!("user_{id}"), "org:admin");
        signed.push((clerk.sign(SECRET, &it.to_string(), 0).await, it.to_string()));
    }
    let made = event("organization.created", 2, organization("org_1", "Acme", "user_1")).to_string();
    signed.push((clerk.sign(SECRET, &made, 0).await, made));
    let sent =
        signed.iter().enumerate().map(|(n, (head, body))| deliver(&clients[n % 2], PATH, head, body.clone()));
    for answer in futures_util::future::join_all(sent).await {
        answer.expect(200);
    }
    let listed = members(&signed_in(&app, &peer, "user_1").await).await;
    let owners = listed.iter().filter(|(_, role)| role == "owner").count();
    assert_eq!((listed.len(), owners), (6, 1), "{listed:?}");
}

#[tokio::test]
async fn repeats_and_disorder_lead_to_the_same_people_and_teams() {
    let peer = Peer::start().await;
    let (app, mut clerk) = start(&peer).await;
    let nobody = app.nobody();
    // A member before his account and before the organization: the sender is to try again.
    let bob = membership("organizationMembership.created", 4, "user_2", "org:member");
    assert_eq!(clerk.deliver(&nobody, PATH, &bob).await.expect(409)["code"], "not_yet");
    clerk.told(&nobody, PATH, &user("user.updated", 9, "user_2", "Rob")).await;
    assert_eq!(clerk.told(&nobody, PATH, &user("user.created", 2, "user_2", "Bob")).await, "known");
    assert_eq!(clerk.deliver(&nobody, PATH, &bob).await.expect(409)["code"], "not_yet");
    // The organization comes with its first admin when its own event is late.
    clerk.told(&nobody, PATH, &user("user.created", 1, "user_1", "Ada")).await;
    let admin = membership("organizationMembership.created", 3, "user_1", "org:admin");
    assert_eq!(clerk.told(&nobody, PATH, &admin).await, "changed");
    let made = event("organization.created", 2, organization("org_1", "Acme", "user_1"));
    assert_eq!(clerk.told(&nobody, PATH, &made).await, "known");
    assert_eq!(clerk.told(&nobody, PATH, &bob).await, "changed");
    // What comes twice, word for word, and by an older clock.
    let before: i64 =
        sqlx::query_scalar("SELECT max(position) FROM events").fetch_one(app.db.pool()).await.unwrap();
    for it in [&bob, &admin, &made, &membership("organizationMembership.deleted", 3, "user_2", "org:member")]
    {
        assert_eq!(clerk.told(&nobody, PATH, it).await, "known", "{it}");
    }
    let after: i64 =
        sqlx::query_scalar("SELECT max(position) FROM events").fetch_one(app.db.pool()).await.unwrap();
    assert_eq!(after, before);
    let ada = signed_in(&app, &peer, "user_1").await;
    assert_eq!(members(&ada).await, pairs(&[("Ada", "owner"), ("Rob", "developer")]));
    // Twenty times at once, at two servers: once.
    let other = app.another().await;
    let cid = user("user.created", 5, "user_3", "Cid").to_string();
    let headers = clerk.sign(SECRET, &cid, 0).await;
    let clients = [nobody.clone(), Client::new(&other.url)];
    let sent = (0..20).map(|n| deliver(&clients[n % 2], PATH, &headers, cid.clone()));
    for answer in futures_util::future::join_all(sent).await {
        answer.expect(200);
    }
    assert_eq!(count(&app, "user.registered").await, 4, "with the owner");
    // An organization that is gone does not come back.
    let gone = event("organization.deleted", 8, json!({ "id": "org_1", "deleted": true }));
    assert_eq!(clerk.told(&nobody, PATH, &gone).await, "changed");
    let late = event("organization.updated", 9, organization("org_1", "Acme", "user_1"));
    assert_eq!(clerk.told(&nobody, PATH, &late).await, "known");
    let joins = membership("organizationMembership.created", 9, "user_3", "org:admin");
    assert_eq!(clerk.told(&nobody, PATH, &joins).await, "gone");
}

#[tokio::test]
async fn what_is_not_signed_by_the_provider_is_refused_and_recorded() {
    let peer = Peer::start().await;
    let (app, mut clerk) = start(&peer).await;
    let nobody = app.nobody();
    let body = user("user.created", 1, "user_1", "Ada").to_string();
    let good = clerk.sign(SECRET, &body, 0).await;
    let other = clerk.sign("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &body, 0).await;
    let old = clerk.sign(SECRET, &body, -301).await;
    let cases = [
        (good.to_vec(), body.replace("Ada", "Eve")),
        (other.to_vec(), body.clone()),
        (old.to_vec(), body.clone()),
        (good[..2].to_vec(), body.clone()),
        (vec![], body.clone()),
    ];
    let bad = cases.len();
    for (headers, body) in cases {
        assert_eq!(deliver(&nobody, PATH, &headers, body).await.expect(401)["code"], "bad_signature");
    }
    assert_eq!(count(&app, "user.registered").await, 1, "the owner alone");
    assert_eq!(count(&app, "access.signature_refused").await, i64::try_from(bad).unwrap());
    let odd = event("user.created", 1, json!({ "id": 7 }));
    let problem = clerk.deliver(&nobody, PATH, &odd).await.expect(422);
    assert_eq!(problem["errors"][0]["field"], "data");
    // No secret, no webhooks.
    clerk.deliver(&nobody, "//api/webhooks/github", &odd).await.expect(404);
    let closed = peer.app(&[CLERK], &[]).await;
    deliver(&closed.nobody(), PATH, &good, body).await.expect(404);
}
