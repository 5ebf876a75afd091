//! Every anchor against a server or file that shows what it got.

use domain::ports::anchor::AnchoredCheckpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn checkpoint(number: i64) -> AnchoredCheckpoint {
    AnchoredCheckpoint { number, size: number * 10, note: format!("note {number}\n\n\u{2014} x\n") }
}

/// Answers one request with a status; gives back what was asked.
async fn answer(listener: &TcpListener, status: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = Vec::new();
    let length = |asked: &[u8]| {
        let text = String::from_utf8_lossy(asked).to_lowercase();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        (body.len() >= length.parse().ok()?).then_some(())
    };
    while length(&asked).is_none() {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the request ended early");
        asked.extend_from_slice(&buffer[..read]);
    }
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(asked).unwrap()
}

#[tokio::test]
async fn a_file_grows_by_whole_lines_also_after_a_torn_one() {
    let dir = tempfile::tempdir().unwrap();
    let anchor = open("file:anchor.ndjson", dir.path(), &Keys::default()).unwrap();
    anchor.keep(&checkpoint(1)).await.unwrap();
    let path = dir.path().join("anchor.ndjson");
    let torn = std::fs::read_to_string(&path).unwrap() + "{\"number\":2,\"che";
    std::fs::write(&path, torn).unwrap();
    anchor.keep(&checkpoint(3)).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Option<i64>> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).ok().and_then(|l| l["number"].as_i64()))
        .collect();
    assert_eq!(lines, [Some(1), None, Some(3)]);
}

#[tokio::test]
async fn a_webhook_and_an_object_store_get_the_checkpoint_and_a_refusal_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/in", listener.local_addr().unwrap());
    let keys = Keys { token: Some(Secret::new("t0ken")), s3: None };
    let (seventh, eighth) = (checkpoint(7), checkpoint(8));
    let webhook = open(&format!("webhook:{place}"), Path::new("/"), &keys).unwrap();
    let put = open(&format!("put:{place}?sig=s3cret"), Path::new("/"), &keys).unwrap();
    assert!(!put.name().contains("s3cret"), "{}", put.name());

    let (kept, asked) = tokio::join!(webhook.keep(&seventh), answer(&listener, "204 No Content"));
    kept.unwrap();
    assert!(asked.starts_with("POST /in HTTP/1.1") && asked.contains("\"number\":7"), "{asked}");
    assert!(asked.to_lowercase().contains("authorization: bearer t0ken"), "{asked}");

    let (kept, asked) = tokio::join!(put.keep(&seventh), answer(&listener, "201 Created"));
    kept.unwrap();
    assert!(asked.starts_with("PUT /in/00000000000000000007.txt?sig=s3cret HTTP/1.1"), "{asked}");
    assert!(asked.ends_with(&seventh.note), "{asked}");

    let (kept, _) = tokio::join!(put.keep(&eighth), answer(&listener, "403 Forbidden"));
    let said = kept.unwrap_err().to_string();
    assert!(said.contains("403") && !said.contains("s3cret"), "{said}");
}

#[test]
fn what_is_no_anchor_is_refused() {
    let keys = Keys { token: None, s3: Some((Secret::new("id"), Secret::new("key"))) };
    assert!(open("s3:bucket/logs?region=eu-central-1", Path::new("/"), &keys).is_ok());
    assert!(open("s3:bucket/logs", Path::new("/"), &Keys::default()).is_err(), "without a key");
    for word in [
        "",
        "file:",
        "ftp:x",
        "webhook:ftp://x",
        "webhook:https://u:p@x/",
        "put:not a url",
        "s3:",
        "s3:/x",
        "s3:bucket?acl=public-read",
    ] {
        assert!(open(word, Path::new("/"), &keys).is_err(), "{word}");
    }
}
