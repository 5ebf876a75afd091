//! Every way in which a body can be wrong.

use domain::values::Slug;
use serde_json::json;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sample {
    #[expect(dead_code, reason = "only whether it reads counts")]
    team_slug: Slug,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default, deserialize_with = "nullable")]
    photo: Option<Option<String>>,
    #[serde(default)]
    #[expect(dead_code, reason = "only whether it reads counts")]
    inner: Option<Inner>,
    #[serde(default)]
    #[expect(dead_code, reason = "only whether it reads counts")]
    password: Option<SecretText>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Inner {
    #[expect(dead_code, reason = "only whether it reads counts")]
    the_list: Vec<u8>,
}

fn refused(body: &str) -> Problem {
    parse::<Sample>(body.as_bytes()).expect_err(body)
}

#[test]
fn a_good_body_reads() {
    let sample: Sample = parse(br#"{"teamSlug":"a","port":1,"photo":null}"#).unwrap();
    assert_eq!((sample.port, sample.photo), (Some(1), Some(None)));
    let sample: Sample = parse(br#"{"teamSlug":"a"}"#).unwrap();
    assert_eq!(sample.photo, None, "absent is not null");
}

#[test]
fn what_is_wrong_is_named_with_its_field() {
    let cases = [
        (r#"{}"#, "teamSlug", "required"),
        (r#"{"teamSlug":"Not A Slug"}"#, "teamSlug", "invalid"),
        (r#"{"teamSlug":7}"#, "teamSlug", "invalid"),
        (r#"{"teamSlug":"a\u0000"}"#, "teamSlug", "invalid"),
        (r#"{"teamSlug":"a","teamSlug":"b"}"#, "teamSlug", "duplicate_field"),
        (r#"{"teamSlug":"a","colour":1}"#, "colour", "unknown_field"),
        (r#"{"teamSlug":"a","port":70000}"#, "port", "invalid"),
        (r#"{"teamSlug":"a","port":1e300}"#, "port", "invalid"),
        (r#"{"teamSlug":"a","port":-1}"#, "port", "invalid"),
        (r#"{"teamSlug":"a","inner":{}}"#, "inner.theList", "required"),
        (r#"{"teamSlug":"a","inner":{"theList":[1,"x"]}}"#, "inner.theList[1]", "invalid"),
        (r#"{"teamSlug":"a","inner":{"theList":[],"x":1}}"#, "inner.x", "unknown_field"),
        (r#"{"teamSlug":"a","inner":{"theList":["\u0000"]}}"#, "inner.theList[0]", "invalid"),
        (r#"[]"#, "", "invalid"),
        (r#"["a"]"#, "", "invalid"),
        (r#"null"#, "", "invalid"),
        (r#""a""#, "", "invalid"),
        (r#"7"#, "", "invalid"),
    ];
    for (body, field, code) in cases {
        let problem = refused(body);
        assert_eq!(problem.status(), 422, "{body}: {problem}");
        let error = &problem.errors()[0];
        assert_eq!((error.field.as_str(), error.code), (field, code), "{body}: {}", error.message);
        assert!(!error.message.contains("line"), "{body}: {}", error.message);
    }
}

#[test]
fn what_is_no_json_is_malformed() {
    for body in ["", "{", "{\"teamSlug\":", "{}x", "{\"teamSlug\":\"\\ud800\"}", "{\"port\":1e999}", "\u{1}"]
    {
        assert_eq!(refused(body).status(), 400, "{body:?}");
    }
    assert_eq!(refused(&"[".repeat(100_000)).status(), 422, "no object, and the stack holds");
    assert_eq!(refused(&format!("{{\"a\":{}", "[".repeat(100_000))).status(), 400);
}

#[test]
fn a_secret_is_not_repeated() {
    let problem = refused(r#"{"teamSlug":"a","password":12345678901}"#);
    assert_eq!(problem.errors()[0].field, "password");
    assert!(!problem.to_json("").to_string().contains("12345678901"));
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json_and_be_small() {
    let request = |kind: &str, body: String| {
        Request::builder().header("content-type", kind).body(axum::body::Body::from(body)).unwrap()
    };
    let status = async |request: Request| match Body::<Sample>::from_request(request, &()).await {
        Ok(_) => 200,
        Err(ApiError::Problem(problem)) => problem.status().as_u16(),
        Err(ApiError::DryRun(_)) => 0,
    };
    let good = json!({ "teamSlug": "a" }).to_string();
    assert_eq!(status(request("application/json; charset=utf-8", good.clone())).await, 200);
    assert_eq!(status(request("text/plain", good.clone())).await, 415);
    assert_eq!(status(Request::new(axum::body::Body::from(good.clone()))).await, 415);
    let large = format!("{good}{}", " ".repeat(MAX_BYTES));
    assert_eq!(status(request("application/json", large)).await, 413);
}
