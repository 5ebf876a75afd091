//! Asks an engine directly, as an operator would: what the runner says of itself is not believed.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What the engine answers to a question.
pub(crate) async fn get(host: &str, path: &str) -> Value {
    let text = ask(host, "GET", path).await;
    let (_, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: {text}"))
}

/// Kills a container, as `docker kill` does.
pub(crate) async fn kill(host: &str, container: &str) {
    let answer = ask(host, "POST", &format!("/containers/{container}/kill")).await;
    assert!(answer.starts_with("HTTP/1.0 204") || answer.starts_with("HTTP/1.1 204"), "{answer}");
}

/// The containers with this label, whether they run or not.
pub(crate) async fn containers(host: &str, label: &str) -> Vec<Value> {
    let filter = format!("%7B%22label%22%3A%5B%22{}%22%5D%7D", label.replace('=', "%3D"));
    let found = get(host, &format!("/containers/json?all=1&filters={filter}")).await;
    found.as_array().cloned().expect("a list")
}

async fn ask(host: &str, method: &str, path: &str) -> String {
    let socket = host.strip_prefix("unix://").expect("the engine of the tests has a socket");
    let mut stream = UnixStream::connect(socket).await.expect("the engine is there");
    let request = format!("{method} /v1.41{path} HTTP/1.0\r\nhost: engine\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it answers");
    text
}
