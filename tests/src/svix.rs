//! Svix's own library (PyPI `svix`) as the one who signs webhooks, in a process of its own.

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::python::Oracle;

/// A secret as Clerk shows it.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Who signs. Dropping it kills it.
pub struct Signer {
    oracle: Oracle,
    count: u32,
}

impl Signer {
    /// Starts it; the first time, pip brings what it needs.
    pub async fn start() -> Self {
        Self { oracle: Oracle::start("svix", "sign.py").await, count: 0 }
    }

    /// The headers of a delivery that is signed now, or so many seconds later.
    pub async fn sign(&mut self, secret: &str, body: &str, later: i64) -> [(&'static str, String); 3] {
        self.count += 1;
        let (id, timestamp) = (format!("msg_{}", self.count), chrono::Utc::now().timestamp() + later);
        let asked = json!({ "secret": secret, "id": id, "timestamp": timestamp, "body": body });
        let signature = self.oracle.ask(&asked).await;
        [("svix-id", id), ("svix-timestamp", timestamp.to_string()), ("svix-signature", signature)]
    }

    /// Delivers an event, signed.
    pub async fn deliver(&mut self, client: &Client, path: &str, event: &Value) -> Answer {
        let body = event.to_string();
        let headers = self.sign(SECRET, &body, 0).await;
        deliver(client, path, &headers, body).await
    }

    /// The same, which has to be taken: what became of it.
    pub async fn told(&mut self, client: &Client, path: &str, event: &Value) -> String {
        let answer = self.deliver(client, path, event).await.expect(200);
        let text = |field: &str| answer[field].as_str().map(str::to_owned);
        text("reason").or(text("outcome")).unwrap_or_else(|| panic!("{answer}"))
    }
}

/// Delivers a body with these headers.
pub async fn deliver(
    client: &Client,
    path: &str,
    headers: &[(&'static str, String)],
    body: String,
) -> Answer {
    let mut request = client.request(reqwest::Method::POST, path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    Client::send(request.body(body)).await
}
