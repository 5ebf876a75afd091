//! Asks an engine directly, as an operator would: what the runner says of itself is not believed.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What the engine answers to a question.
pub(super) async fn get(host: &str, path: &str) -> Value {
    let socket = host.strip_prefix("unix://").expect("the engine of the tests has a socket");
    let mut stream = UnixStream::connect(socket).await.expect("the engine is there");
    let request = format!("GET /v1.41{path} HTTP/1.0\r\nhost: engine\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it answers");
    let (_, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: {text}"))
}
