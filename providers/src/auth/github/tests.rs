use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers requests by their path, and keeps them.
async fn server(answers: Vec<(&'static str, Value)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 16 * 1024];
            let mut length = 0;
            let request = loop {
                length += stream.read(&mut bytes[length..]).await.unwrap();
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let wanted = head
                    .lines()
                    .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= wanted.unwrap_or(0) {
                    break text;
                }
            };
            let path = request.split(' ').nth(1).unwrap();
            let found = answers.iter().find(|(known, _)| *known == path).map(|(_, body)| body.to_string());
            let (status, body) = found.map_or(("404 Not Found", "{}".into()), |body| ("200 OK", body));
            kept.lock().unwrap().push(request);
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, seen)
}

fn github(url: &str) -> GitHub {
    let settings =
        [("ISSUER", url), ("CLIENT_ID", "app"), ("CLIENT_SECRET", "hush"), ("ALLOW_PRIVATE", "true")];
    let mut settings: BTreeMap<String, String> =
        settings.iter().map(|(k, v)| (format!("MASTRA_ADMIN_AUTH_GITHUB_{k}"), (*v).to_owned())).collect();
    let defaults =
        super::super::Defaults { issuer: None, scopes: "read:user user:email", knows_everybody: false };
    GitHub::new(Options::take("github", defaults, &mut settings).unwrap()).unwrap()
}

fn flow() -> Flow {
    Flow {
        redirect_uri: "https://admin.example.org/api/v1/auth/github/callback".into(),
        state: "the-state".into(),
        nonce: "unused".into(),
        verifier: "v".repeat(43),
    }
}

fn brought(iss: Option<&str>) -> Brought {
    Brought { code: "the-code".into(), iss: iss.map(str::to_owned) }
}

fn answers(emails: Value) -> Vec<(&'static str, Value)> {
    vec![
        (
            "/login/oauth/access_token",
            json!({ "access_token": "gho_1", "token_type": "bearer", "scope": "" }),
        ),
        ("/api/v3/user", json!({ "id": 583231, "login": "octocat", "name": "Mona Lisa Octocat" })),
        ("/api/v3/user/emails", emails),
    ]
}

#[tokio::test]
async fn who_comes_back_is_known_by_number_and_by_a_main_verified_address() {
    let emails = json!([
        { "email": "other@example.org", "primary": false, "verified": true },
        { "email": "mona@example.org", "primary": true, "verified": true },
    ]);
    let (url, seen) = server(answers(emails)).await;
    let github = github(&url);
    let begin = github.begin(&flow()).await.unwrap();
    assert!(begin.starts_with(&format!("{url}/login/oauth/authorize?")), "{begin}");
    for part in
        ["state=the-state", "code_challenge=", "code_challenge_method=S256", "scope=read%3Auser+user%3Aemail"]
    {
        assert!(begin.contains(part), "{begin}");
    }
    assert!(!begin.contains("nonce") && !begin.contains("hush"), "{begin}");
    let identity = github.finish(&flow(), &brought(None)).await.unwrap();
    assert_eq!((identity.issuer.as_str(), identity.subject.as_str()), (url.as_str(), "583231"));
    assert_eq!(identity.email.unwrap().as_str(), "mona@example.org");
    assert_eq!((identity.first_name.as_str(), identity.last_name.as_str()), ("Mona", "Lisa Octocat"));
    let seen = seen.lock().unwrap();
    assert!(seen[0].contains("code_verifier=vvvv") && seen[0].contains("client_secret=hush"), "{}", seen[0]);
    assert!(seen[1].to_lowercase().contains("authorization: bearer gho_1"), "{}", seen[1]);
}

#[tokio::test]
async fn an_address_that_is_not_verified_is_none_and_what_proves_nothing_is_refused() {
    let (url, _) =
        server(answers(json!([{ "email": "a@example.org", "primary": true, "verified": false }]))).await;
    let identity = github(&url).finish(&flow(), &brought(None)).await.unwrap();
    assert_eq!(identity.email, None);
    let other = github(&url).finish(&flow(), &brought(Some("https://evil.test"))).await;
    assert!(matches!(other, Err(AuthError::Refused(_))), "{other:?}");
    let own = github(&url).finish(&flow(), &brought(Some(&format!("{url}/login/oauth")))).await;
    assert!(own.is_ok(), "{own:?}");
    // GitHub says 200 and an error in the body.
    let (url, _) =
        server(vec![("/login/oauth/access_token", json!({ "error": "bad_verification_code" }))]).await;
    assert!(github(&url).finish(&flow(), &brought(None)).await.is_err());
    assert_eq!(github(&url).validate_token("gho_1").await, Ok(None));
}
