use std::sync::atomic::{AtomicUsize, Ordering};

use domain::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn open(allowed: &str) -> HttpsOutbound {
    let allowed: Vec<IpNet> = allowed.split_whitespace().map(|range| range.parse().unwrap()).collect();
    HttpsOutbound::open(&allowed).unwrap()
}

fn post_to(url: &str) -> Post {
    Post { url: Secret::new(url), body: b"{}".to_vec(), signing: None }
}

/// Listens on loopback and gives everybody this answer; counts who comes.
async fn listen(answer: &'static str) -> (u16, std::sync::Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, came) = (listener.local_addr().unwrap().port(), std::sync::Arc::new(AtomicUsize::new(0)));
    let counted = came.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, came)
}

#[test]
fn addresses_of_ones_own_network_and_plain_http_are_refused_before_anybody_is_asked() {
    let strict = open("");
    for url in [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://017700000001/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00::1]/",
        "https://0.0.0.0/",
    ] {
        assert_eq!(strict.check(url), Err(Barred::Inside), "{url}");
    }
    for url in ["http://example.org/", "http://8.8.8.8/", "http://127.0.0.1/"] {
        assert_eq!(strict.check(url), Err(Barred::NotPrivate), "{url}");
    }
    for url in [
        "file:///etc/passwd",
        "https://user:secret@example.org/",
        "nonsense",
        "ftp://example.org",
        "https://",
    ] {
        assert_eq!(strict.check(url), Err(Barred::NoAddress), "{url}");
    }
    assert_eq!(strict.check("https://example.org/hook?token=1"), Ok(()));
}

#[test]
fn what_the_operator_allows_is_allowed_and_nothing_else() {
    let loose = open("10.0.0.0/8 fd00::/8");
    for url in
        ["https://10.1.2.3/", "http://10.1.2.3:8080/", "https://[::ffff:10.1.2.3]/", "https://[fd00::1]/"]
    {
        assert_eq!(loose.check(url), Ok(()), "{url}");
    }
    for url in ["https://127.0.0.1/", "https://192.168.1.1/", "http://8.8.8.8/"] {
        assert!(loose.check(url).is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_and_nobody_is_connected() {
    let (port, came) = listen("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for url in [format!("https://localhost:{port}/"), format!("http://localhost:{port}/")] {
        let refused = open("").post(&post_to(&url)).await.unwrap_err().to_string();
        assert!(refused.contains("not allowed") || refused.contains("https"), "{refused}");
    }
    assert_eq!(came.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_is_looked_up_once_so_that_it_cannot_become_another_after_it_was_checked() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let (port, came) = listen("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    // The first answer is an address where nobody listens, every later one is loopback.
    let rebinding = Guard::public_and(&["192.0.2.0/24".parse().unwrap()]).looking(|_| {
        Box::pin(async {
            let first = ASKED.fetch_add(1, Ordering::SeqCst) == 0;
            let ip: std::net::IpAddr = if first { "192.0.2.1" } else { "127.0.0.1" }.parse().unwrap();
            Ok(vec![(ip, 0).into()])
        })
    });
    let way = connect(rebinding).unwrap();
    let ask = || {
        let request = Request::post(format!("http://rebind.example:{port}/")).body(Full::default()).unwrap();
        tokio::time::timeout(Duration::from_millis(500), way.request(request))
    };
    assert!(!matches!(ask().await, Ok(Ok(_))), "nobody listens there");
    assert_eq!(ASKED.load(Ordering::SeqCst), 1);
    let refused = ask().await.unwrap().unwrap_err();
    assert!(why(&refused).contains("not allowed"), "{refused:?}");
    // Of several addresses one inside is enough.
    let mixed = Guard::public_and(&[]).looking(|_| {
        Box::pin(async { Ok(vec!["8.8.8.8:0".parse().unwrap(), "10.0.0.1:0".parse().unwrap()]) })
    });
    let request = Request::post("http://mixed.example/").body(Full::default()).unwrap();
    assert!(why(&connect(mixed).unwrap().request(request).await.unwrap_err()).contains("not allowed"));
    assert_eq!(came.load(Ordering::SeqCst), 0, "nothing was connected to what was not checked");
}

#[tokio::test]
async fn redirects_are_answers_and_answers_are_cut() {
    let (port, _) =
        listen("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 4\r\n\r\naway")
            .await;
    let url = format!("http://127.0.0.1:{port}/hook");
    let answer = open("127.0.0.0/8").post(&post_to(&url)).await.unwrap();
    assert_eq!(answer, Answered { status: 302, body: "away".to_owned(), retry_after: None });
    let long = "HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n".to_owned() + &"x\0".repeat(1500);
    let (port, _) = listen(long.leak()).await;
    let answer = open("127.0.0.0/8").post(&post_to(&format!("http://127.0.0.1:{port}/"))).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, "x\u{fffd}".repeat(512));
}

#[test]
fn a_pause_is_seconds_or_a_date_and_nothing_else() {
    let asked = |said: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, said.parse().unwrap())]));
    assert_eq!(retry_after(&HeaderMap::new()), None);
    assert_eq!(asked("120"), Some(Duration::from_secs(120)));
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(300));
    let until = asked(&date).unwrap().as_secs();
    assert!((295..=300).contains(&until), "{until}");
    for odd in ["-1", "soon", "1.5", "99999999999999999999", "Sun, 06 Nov 1994 08:49:37 GMT", ""] {
        assert_eq!(asked(odd), None, "{odd}");
    }
}

#[tokio::test]
async fn why_it_failed_does_not_quote_the_address() {
    let refused = open("127.0.0.0/8").post(&post_to("http://127.0.0.1:1/secret-path")).await.unwrap_err();
    assert!(refused.to_string().contains("refused") && !refused.to_string().contains("secret"), "{refused}");
}

/// The example that the specification's own libraries are tested with.
#[test]
fn signatures_are_those_of_standard_webhooks() {
    let key = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let id = "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned();
    let signing = Signing { id, timestamp: 1_614_265_330, secrets: vec![key.clone(), key] };
    let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(signatures(&signing, br#"{"test": 2432232314}"#).unwrap(), format!("{signature} {signature}"));
}
