//! `mastra auth login`: the browser lets the command line in, and nobody else's page does.

use serde_json::Value;
use tests::app::{OWNER, PASSWORD, TestApp};
use tests::mastra_cli::MastraCli;

use super::deploy::first_deploy;
use super::project;

/// A browser that keeps the one cookie there is.
struct Browser {
    base: String,
    cookie: String,
    http: reqwest::Client,
}

impl Browser {
    fn new(app: &TestApp) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base: app.url.clone(), cookie: String::new(), http }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer =
            self.http.get(format!("{}{path}", self.base)).header("cookie", &self.cookie).send().await;
        let answer = answer.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Sends a form as a page of this origin does; answers where it leads.
    async fn post(&mut self, path: &str, form: &[(&str, &str)], origin: &str) -> (u16, String) {
        let body: Vec<String> =
            form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let request = self.http.post(format!("{}{path}", self.base)).header("cookie", &self.cookie);
        let request =
            request.header("origin", origin).header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(body.join("&")).send().await.unwrap();
        if let Some(set) = answer.headers().get("set-cookie") {
            set.to_str().unwrap().split(';').next().unwrap().clone_into(&mut self.cookie);
        }
        let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        (status, to.unwrap_or(answer.text().await.unwrap()))
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn hidden<'a>(page: &'a str, name: &str) -> &'a str {
    let sign = format!("name=\"{name}\" value=\"");
    page.split(&sign)
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_else(|| panic!("no {name} in {page}"))
}

#[tokio::test]
async fn a_person_lets_the_command_line_in_with_a_browser_and_deploys_a_new_project() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    project(&app, &owner).await;
    let cli = MastraCli::of(&app).await;
    let dir = tempfile::tempdir().unwrap();
    let (mut login, line) = cli.until(dir.path(), &["auth", "login"], "Open this URL manually: ").await;
    let url = line.split("manually: ").nth(1).unwrap().trim();
    let path = url.strip_prefix(&app.url).unwrap();
    let query = path.split_once('?').unwrap().1;
    let part =
        |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap();
    let (port, state) = (part("cli_port"), part("state"));
    let own = app.url.clone();

    let mut browser = Browser::new(&app);
    let (status, page) = browser.get(path).await;
    assert!(status == 401 && page.contains("name=\"password\""), "{page}");
    let known = |password| [("cli_port", port), ("state", state), ("email", OWNER), ("password", password)];
    let wrong = browser.post("/v1/auth/login", &known("wrong"), &own).await;
    assert!(wrong.0 == 401 && wrong.1.contains("E-mail or password is wrong"), "{wrong:?}");
    let foreign = browser.post("/v1/auth/login", &known(PASSWORD), "https://evil.example").await;
    assert_eq!(foreign.0, 403);
    let (status, to) = browser.post("/v1/auth/login", &known(PASSWORD), &own).await;
    assert_eq!((status, to.split('?').next()), (303, Some("/v1/auth/login")));

    let (status, page) = browser.get(&to).await;
    assert!(status == 200 && page.contains(OWNER) && page.contains("acme"), "{page}");
    let (csrf, team) = (hidden(&page, "csrf").to_owned(), page.split("<option value=\"").nth(1).unwrap());
    let team = team.split('"').next().unwrap().to_owned();
    let confirm = |csrf: &str| {
        [("cli_port", port), ("state", state), ("csrf", csrf), ("team", &team)]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
    };
    for (csrf, origin) in [("guessed", own.as_str()), (&csrf, "https://evil.example"), (&csrf, "null")] {
        let form = confirm(csrf);
        let form: Vec<(&str, &str)> = form.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(browser.post("/v1/auth/login/confirm", &form, origin).await.0, 403, "{origin}");
    }
    let form = confirm(&csrf);
    let form: Vec<(&str, &str)> = form.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let (status, to) = browser.post("/v1/auth/login/confirm", &form, &own).await;
    assert_eq!(status, 303, "{to}");
    assert!(to.starts_with(&format!("http://127.0.0.1:{port}/callback?state={state}&token=ma_")), "{to}");
    assert_eq!(reqwest::get(&to).await.unwrap().status(), 200, "the command line takes it");
    assert!(login.wait().await.unwrap().success());

    let said = cli.run(dir.path(), &["auth", "whoami"]).await;
    assert!(said.text.contains(OWNER) && said.text.contains("acme"), "{}", said.text);
    let tokens = owner.get("/me/tokens").await.expect(200);
    let names: Vec<&Value> = tokens["items"].as_array().unwrap().iter().map(|token| &token["name"]).collect();
    assert_eq!(names, ["mastra command line"]);
    first_deploy(&app, &owner, &cli).await;
    assert!(tokens["items"][0]["expiresAt"].is_string(), "{tokens}");
}

#[tokio::test]
async fn a_login_leads_to_nothing_but_a_port_of_this_machine() {
    let app = TestApp::start().await;
    let browser = Browser::new(&app);
    for query in [
        "cli_port=80&state=0123456789abcdef",
        "cli_port=65536&state=0123456789abcdef",
        "cli_port=evil.example&state=0123456789abcdef",
        "cli_port=4111@evil.example&state=0123456789abcdef",
        "cli_port=4111&state=short",
        "cli_port=4111&state=%22%3E%3Cscript%3E",
        "cli_port=4111",
        "",
    ] {
        let (status, page) = browser.get(&format!("/v1/auth/login?{query}")).await;
        assert_eq!(status, 422, "{query}: {page}");
    }
}
