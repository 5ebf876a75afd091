//! A certified OpenID provider (npm `oidc-provider`) in a process of its own, and a browser that signs in there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::app::{TestApp, program};
use crate::client::{Answer, Client};

/// Where browsers reach the platform, as the provider knows it.
pub const PUBLIC: &str = "https://admin.example.test";
/// The audience of access tokens.
pub const AUDIENCE: &str = "https://api.mastraadmin.test";

static INSTALLED: OnceCell<PathBuf> = OnceCell::const_new();

/// The provider. Dropping it kills it.
pub struct Peer {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub base: String,
    http: reqwest::Client,
    _child: Child,
}

impl Peer {
    /// Starts it; the first time, npm brings what it needs.
    pub async fn start() -> Self {
        let folder = INSTALLED.get_or_init(install).await;
        let mut child = Command::new("node")
            .arg("server.mjs")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed");
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        let base = loop {
            let line = tokio::time::timeout(Duration::from_secs(120), lines.next_line()).await;
            let line =
                line.expect("it starts in time").expect("it can be read").expect("it says where it is");
            if let Some(base) = line.strip_prefix("READY ") {
                break base.to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        Self { base, http: http.expect("a client without TLS"), _child: child }
    }

    /// Tells it something: `rotate`, `mint`, `users`, `away`.
    pub async fn tell(&self, what: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}/test/{what}", self.base)).json(&body);
        request.send().await.expect("it answers").json().await.expect("JSON")
    }

    /// A token, signed with its keys unless the body says otherwise.
    pub async fn mint(&self, body: Value) -> String {
        let minted = self.tell("mint", body).await;
        minted["token"].as_str().unwrap_or_else(|| panic!("no token: {minted}")).to_owned()
    }

    /// How often a path was asked for since it was last away or back.
    pub async fn fetched(&self, path: &str) -> u64 {
        let request = self.http.get(format!("{}/test/fetched", self.base));
        let all: Value = request.send().await.expect("it answers").json().await.expect("JSON");
        all[path].as_u64().unwrap_or_default()
    }

    /// Settings of a platform that has these providers: name, kind, path of the issuer, client.
    pub fn settings(&self, providers: &[(&str, &str, &str, &str)]) -> Vec<(String, String)> {
        let names: Vec<_> = providers.iter().map(|(id, kind, ..)| format!("{id}={kind}")).collect();
        let mut all = vec![
            ("MASTRA_ADMIN_PUBLIC_URL".to_owned(), PUBLIC.to_owned()),
            ("MASTRA_ADMIN_AUTH_PROVIDERS".to_owned(), names.join(",")),
        ];
        for (id, _, path, client) in providers {
            let mut set = |name: &str, value: &str| {
                all.push((format!("MASTRA_ADMIN_AUTH_{}_{name}", id.to_uppercase()), value.to_owned()));
            };
            set("ISSUER", &format!("{}{path}", self.base));
            set("CLIENT_ID", client);
            set("ALLOW_PRIVATE", "true");
            set("AUDIENCES", if *path == "/realms/test" { "account" } else { AUDIENCE });
            if *client != "spa" {
                set("CLIENT_SECRET", "web-secret-0123456789abcdef0123456789");
            }
        }
        all
    }

    /// A platform with these settings and more.
    pub async fn app(&self, providers: &[(&str, &str, &str, &str)], more: &[(&str, &str)]) -> TestApp {
        let settings = self.settings(providers);
        let mut all: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        all.extend(more);
        TestApp::start_with(&all).await
    }
}

async fn install() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/oidc");
    let folder = program("test-peers").join("oidc");
    std::fs::create_dir_all(&folder).expect("it can be made");
    for file in ["package.json", "server.mjs"] {
        std::fs::copy(here.join(file), folder.join(file)).expect("it can be copied");
    }
    if !folder.join("node_modules/oidc-provider").is_dir() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]);
        let done = npm.current_dir(&folder).status().await.expect("npm is installed");
        assert!(done.success(), "npm could not install the OpenID provider");
    }
    folder
}

/// A browser: it keeps cookies and follows redirects by hand.
pub struct Browser<'a> {
    app: &'a TestApp,
    cookies: Mutex<BTreeMap<String, String>>,
    http: reqwest::Client,
}

impl<'a> Browser<'a> {
    /// A new one.
    pub fn new(app: &'a TestApp) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        Self { app, cookies: Mutex::default(), http: http.expect("a client without TLS") }
    }

    /// GET of a whole URL; the platform's public address leads to the platform.
    pub async fn get(&self, url: &str) -> Answer {
        let url = match url.strip_prefix(PUBLIC) {
            Some(path) => format!("{}{path}", self.app.url),
            None => url.to_owned(),
        };
        let cookies: Vec<String> = self
            .cookies
            .lock()
            .expect("no panic")
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = self.http.request(Method::GET, url).header("cookie", cookies.join("; "));
        let answer = Client::send(request).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().expect("visible");
            let (name, rest) = cookie.split_once('=').expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default().to_owned();
            let mut cookies = self.cookies.lock().expect("no panic");
            let is_over = cookie.contains("Max-Age=0") || value.is_empty();
            if is_over {
                cookies.remove(name)
            } else {
                cookies.insert(name.to_owned(), value)
            };
        }
        answer
    }

    /// One of its cookies.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().expect("no panic").get(name).cloned()
    }

    /// Puts a cookie there.
    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().expect("no panic").insert(name.to_owned(), value.to_owned());
    }

    /// Signs in at the provider as somebody; answers where it sends the browser back to.
    pub async fn come_back(&self, provider: &str, who: &str, return_to: &str) -> String {
        let begin = format!("{PUBLIC}/api/v1/auth/{provider}/authorize?returnTo={return_to}");
        let mut answer = self.get(&begin).await;
        assert_eq!(answer.status, 302, "{}\n{}", answer.text, self.app.log());
        let mut url = format!("{}&login_hint={who}", location(&answer));
        for _ in 0..10 {
            answer = self.get(&url).await;
            assert!([302, 303].contains(&answer.status), "{url}: {} {}", answer.status, answer.text);
            let next = location(&answer);
            if next.starts_with(PUBLIC) {
                return next;
            }
            url = match next.strip_prefix('/') {
                Some(path) => {
                    let host: String = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
                    format!("{host}/{path}")
                }
                None => next,
            };
        }
        panic!("it leads nowhere: {url}");
    }

    /// Signs in; answers what the platform says at the end.
    pub async fn sign_in(&self, provider: &str, who: &str) -> Answer {
        let back = self.come_back(provider, who, "/").await;
        self.get(&back).await
    }

    /// Who it is.
    pub async fn me(&self) -> Answer {
        self.get(&format!("{PUBLIC}/api/v1/me")).await
    }
}

/// Where an answer leads.
pub fn location(answer: &Answer) -> String {
    answer.headers["location"].to_str().expect("visible").to_owned()
}

/// Somebody at the provider.
pub fn person(sub: &str, email: &str, verified: bool) -> Value {
    json!({ "sub": sub, "email": email, "email_verified": verified, "given_name": "Ada", "family_name": "King" })
}
