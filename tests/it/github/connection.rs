use serde_json::{Value, json};
use tests::github::{GitHub, INSTALLATION};
use tests::people::join;
use tests::world::{project, team};

use super::{NAME, world};

/// No installation opens it.
const ELSEWHERE: &str = "https://example.org/acme/agent.git";

#[tokio::test]
async fn an_installation_is_connected_by_who_began_it_once_and_opens_its_repositories_to_its_team_alone() {
    let github = GitHub::start().await;
    github.repository(NAME, "tiny").await;
    github.repository("acme/other", "tiny").await;
    let app = github.app(&[]).await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let admin = join(&app, &owner, "admin@example.org", Some(("acme", "admin"))).await;

    let url = owner.get("/teams/acme/github/install-url").await.expect(200);
    let url = url["url"].as_str().unwrap();
    assert!(
        url.starts_with(&github.base) && url.contains("/mastraadmin-test/installations/new?state="),
        "{url}"
    );
    assert_eq!(admin.get("/teams/acme/github/install-url").await.status, 403);
    let state = url.split("state=").nth(1).unwrap();
    let back = |id: i64, state: &str| {
        format!("/github/callback?installation_id={id}&setup_action=install&state={state}")
    };

    // Somebody else's state, a made-up one, an installation that GitHub does not know.
    let stolen = admin.get(&back(INSTALLATION, state)).await;
    assert_eq!((stolen.status, &stolen.body["errors"][0]["field"]), (422, &json!("state")));
    assert_eq!(owner.get(&back(INSTALLATION, "made-up")).await.status, 422);
    assert_eq!(app.nobody().get(&back(INSTALLATION, state)).await.status, 401);
    let unknown = owner.get(&back(4711, state)).await;
    assert_eq!((unknown.status, &unknown.body["errors"][0]["field"]), (422, &json!("installation_id")));
    // That used the state up.
    assert_eq!(owner.get(&back(INSTALLATION, state)).await.status, 422);

    let id = github.connect(&owner, "acme").await;
    assert_eq!(github.connect(&owner, "acme").await, id, "again is the same");
    let listed = owner.get("/teams/acme/installations").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&listed["items"][0]["organizationName"], &listed["items"][0]["status"]),
        (&json!("acme"), &json!("active"))
    );

    let names = |body: Value| {
        body["items"].as_array().unwrap().iter().map(|it| it["fullName"].clone()).collect::<Vec<_>>()
    };
    let repositories = format!("/installations/{id}/repositories");
    let first = owner.get(&format!("{repositories}?limit=1")).await.expect(200);
    assert_eq!((names(first.clone()), &first["nextCursor"]), (vec![json!(NAME)], &json!("2")));
    assert_eq!(
        names(owner.get(&format!("{repositories}?limit=1&cursor=2")).await.expect(200)),
        ["acme/other"]
    );
    assert_eq!(names(owner.get(&format!("{repositories}?q=OTH")).await.expect(200)), ["acme/other"]);
    let branches = owner.get(&format!("{repositories}/{NAME}/branches")).await.expect(200);
    assert_eq!(branches["items"][0]["name"], "main");
    for hostile in ["acme/--upload-pack=x", "acme/..", "a%0Ab/c", "$(id)/x", "acme/nothing"] {
        assert_eq!(owner.get(&format!("{repositories}/{hostile}/branches")).await.status, 404, "{hostile}");
    }

    // Another team has none of it.
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    team(&stranger, "other").await;
    assert_eq!(stranger.get(&repositories).await.status, 404);
    let body = json!({ "name": "x", "slug": "x", "repoUrl": github.repo_url(NAME), "installationId": id });
    let refused = stranger.post("/teams/other/projects", body).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (422, &json!("installationId")));
    let theirs = stranger.get("/teams/other/github/install-url").await.expect(200);
    let state = theirs["url"].as_str().unwrap().split("state=").nth(1).unwrap().to_owned();
    let taken = stranger.get(&back(INSTALLATION, &state)).await;
    assert_eq!((taken.status, taken.str("code").as_str()), (409, "installation_taken"));

    // A project is of a repository that the installation opens.
    for url in [json!(github.repo_url("acme/nothing")), json!(ELSEWHERE), json!(null)] {
        let body = json!({ "name": "x", "slug": "x", "repoUrl": url, "installationId": id });
        let refused = owner.post("/teams/acme/projects", body).await;
        assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (422, &json!("repoUrl")), "{url}");
    }
    let made =
        project(&owner, "acme", "agent", &github.repo_url(NAME), json!({ "installationId": id })).await;
    assert!(owner.get(&format!("/projects/{}", made.id)).await.expect(200)["repositoryId"].is_i64());

    owner.delete(&format!("/installations/{id}")).await.expect(200);
    assert_eq!(owner.get(&repositories).await.status, 404);
    github.had_no_violations().await;
}

#[tokio::test]
async fn without_a_client_secret_only_the_apps_own_account_is_connected_and_by_one_team() {
    let github = GitHub::start().await;
    let app = github.app(&[]).await;
    let owner = app.owner().await;
    let back = async |team: &str, id: i64| {
        let url = owner.get(&format!("/teams/{team}/github/install-url")).await.expect(200);
        let state = url["url"].as_str().unwrap().split("state=").nth(1).unwrap().to_owned();
        owner.get(&format!("/github/callback?installation_id={id}&state={state}")).await
    };
    let teams = ["one", "two", "three", "four"];
    for slug in teams {
        team(&owner, slug).await;
    }
    github.tell("installation", json!({ "id": 7002, "account": "strangers" })).await;
    let refused = back("one", 7002).await;
    assert_eq!((refused.status, refused.str("code").as_str()), (403, "not_your_installation"));
    // At the same time: one has it, and the others are told.
    let at_once = futures_util::future::join_all(teams.map(|team| back(team, INSTALLATION))).await;
    let mut statuses: Vec<u16> = at_once.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409]);
    github.had_no_violations().await;
}

#[tokio::test]
async fn with_a_client_secret_github_says_whose_an_installation_is() {
    let github = GitHub::start().await;
    let more = [
        ("MASTRA_ADMIN_GITHUB_CLIENT_ID", "Iv1.test"),
        ("MASTRA_ADMIN_GITHUB_CLIENT_SECRET", "client-secret-of-the-test"),
    ];
    github.repository(NAME, "tiny").await;
    github.repository("acme/other", "tiny").await;
    let app = github.app(&more).await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    team(&owner, "second").await;
    let back = async |team: &str, code: Option<Value>| {
        let url = owner.get(&format!("/teams/{team}/github/install-url")).await.expect(200);
        let state = url["url"].as_str().unwrap().split("state=").nth(1).unwrap().to_owned();
        let code = code.map(|code| format!("&code={}", code["code"].as_str().unwrap())).unwrap_or_default();
        owner.get(&format!("/github/callback?installation_id={INSTALLATION}&state={state}{code}")).await
    };
    let somebody = github.tell("code", json!({ "installations": [] })).await;
    for code in [None, Some(json!({ "code": "made-up" })), Some(somebody)] {
        let refused = back("acme", code).await;
        assert_eq!((refused.status, refused.str("code").as_str()), (403, "not_your_installation"));
    }
    // Who may see one of its repositories would see all of them through it.
    let reader =
        github.tell("code", json!({ "installations": [INSTALLATION], "repositories": [NAME] })).await;
    let refused = back("acme", Some(reader)).await;
    assert_eq!((refused.status, refused.str("code").as_str()), (403, "not_your_installation"));
    for team in ["acme", "second"] {
        let mine = github.tell("code", json!({ "installations": [INSTALLATION] })).await;
        back(team, Some(mine)).await.expect(200);
    }
    assert!(!app.log().contains("client-secret-of-the-test"));
    github.had_no_violations().await;
}

#[tokio::test]
async fn mastra_apps_are_found_without_a_clone() {
    let w = world().await;
    let core = json!({ "name": "agent", "dependencies": { "@mastra/core": "^1.0.0" } }).to_string();
    let single = json!({ "package.json": core, "src/mastra/index.ts": "export {}" });
    w.github.tell("repos", json!({ "full_name": "acme/single", "files": single })).await;
    let many = json!({
        "package.json": json!({ "workspaces": ["apps/*"] }).to_string(),
        "apps/one/package.json": core, "apps/one/src/mastra/index.ts": "export {}",
        "apps/two/package.json": json!({ "name": "web" }).to_string(),
    });
    w.github.tell("repos", json!({ "full_name": "acme/many", "files": many })).await;
    let apps = async |name: &str| {
        // What an installation opens is told with its token, which was minted before these were there.
        let path = format!("/installations/{}/repositories/{name}/apps", w.installation);
        w.owner.get(&path).await
    };
    w.github.tell("forget-tokens", json!({})).await;
    let found = apps("acme/single").await.expect(200);
    assert_eq!(
        (&found["items"][0]["projectRoot"], &found["items"][0]["mastraDirectory"]),
        (&json!("."), &json!("src/mastra"))
    );
    let found = apps("acme/many").await.expect(200);
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["items"][0]["projectRoot"], "apps/one");
    assert_eq!(apps(NAME).await.expect(200)["items"], json!([]));
    w.github.had_no_violations().await;
}

#[tokio::test]
async fn github_is_asked_again_when_it_fails_and_left_alone_when_it_asks_for_that() {
    let w = world().await;
    let repositories = format!("/installations/{}/repositories", w.installation);
    let fault = async |fault: Value| drop(w.github.tell("fault", fault).await);
    fault(json!({ "path": "installation/repositories", "status": 502, "times": 2 })).await;
    w.owner.get(&repositories).await.expect(200);
    fault(json!({ "path": "installation/repositories", "drop": true, "times": 1 })).await;
    w.owner.get(&repositories).await.expect(200);
    fault(json!({ "path": "installation/repositories", "status": 429, "headers": { "retry-after": "1" } }))
        .await;
    w.owner.get(&repositories).await.expect(200);
    fault(json!({ "path": "installation/repositories", "status": 403, "headers": { "retry-after": "120" } }))
        .await;
    let away = w.owner.get(&repositories).await;
    assert_eq!((away.status, away.str("code").as_str()), (503, "github_unavailable"));
    let asked = w.github.state().await["requests"].clone();
    let away = w.owner.get(&repositories).await;
    assert!(away.status == 503 && away.headers.contains_key("retry-after"));
    assert_eq!(w.github.state().await["requests"], asked, "nothing is asked until then");
}
