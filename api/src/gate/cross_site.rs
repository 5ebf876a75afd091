//! No page of another site makes a browser change anything here.

use axum::http::{HeaderMap, HeaderName, header, request::Parts};
use subtle::ConstantTimeEq;
use url::Url;

use super::is_safe;
use crate::error::Problem;
use crate::platform::Settings;

const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a browser sends on behalf of another site. Who sends a bearer token does so himself.
pub(super) fn refuse(parts: &Parts, settings: &Settings) -> Result<(), Problem> {
    let headers = &parts.headers;
    if is_safe(&parts.method) || headers.contains_key(header::AUTHORIZATION) || is_own(headers, settings) {
        return Ok(());
    }
    Err(refused("this request comes from another site"))
}

/// Refuses a changing request with a cookie alone: what proves that it comes from our own pages is missing.
pub(super) fn require_token(parts: &Parts, expected: &str) -> Result<(), Problem> {
    if is_safe(&parts.method) {
        return Ok(());
    }
    let given = parts.headers.get(X_CSRF_TOKEN).map(|value| value.as_bytes()).unwrap_or_default();
    if bool::from(given.ct_eq(expected.as_bytes())) {
        return Ok(());
    }
    Err(refused("send the csrfToken of your session as X-CSRF-Token"))
}

fn refused(detail: &str) -> Problem {
    Problem::new(403, "csrf", "Not allowed").detail(detail)
}

/// Programs send neither header; browsers send at least one.
fn is_own(headers: &HeaderMap, settings: &Settings) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text(SEC_FETCH_SITE).is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return false;
    }
    let Some(origin) = text(header::ORIGIN) else { return true };
    let Ok(origin) = Url::parse(origin) else { return false };
    if origin.origin() == settings.public_url.origin() {
        return true;
    }
    // Reached by another name, say an address of the local network: the page must come from there, too.
    let authority = match (origin.host_str(), origin.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return false,
    };
    text(header::HOST).is_some_and(|host| host.eq_ignore_ascii_case(&authority))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/api/v1/teams");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn passes(method: &str, headers: &[(&str, &str)]) -> bool {
        let settings = Settings::new("https://admin.example.org".parse().unwrap(), "test".to_owned());
        refuse(&parts(method, headers), &settings).is_ok()
    }

    #[test]
    fn another_site_cannot_change_anything() {
        assert!(passes("POST", &[]), "a program");
        assert!(passes(
            "POST",
            &[("origin", "https://admin.example.org"), ("sec-fetch-site", "same-origin")]
        ));
        assert!(passes("POST", &[("origin", "http://10.0.0.7:8080"), ("host", "10.0.0.7:8080")]));
        assert!(passes("GET", &[("origin", "https://evil.example")]));
        assert!(passes("POST", &[("origin", "https://evil.example"), ("authorization", "Bearer x")]));
        for headers in [
            [("origin", "https://evil.example"), ("host", "admin.example.org")],
            [("origin", "null"), ("host", "admin.example.org")],
            [("origin", "http://admin.example.org"), ("host", "other")],
            [("origin", "https://admin.example.org"), ("sec-fetch-site", "cross-site")],
            [("sec-fetch-site", "same-site"), ("host", "admin.example.org")],
        ] {
            assert!(!passes("POST", &headers), "{headers:?}");
        }
    }

    #[test]
    fn a_cookie_alone_changes_nothing() {
        let token = |value| require_token(&parts("DELETE", &[("x-csrf-token", value)]), "secret").is_ok();
        assert!(token("secret"));
        assert!(!token("Secret") && !token("secre") && !token(""));
        assert!(require_token(&parts("DELETE", &[]), "secret").is_err());
        assert!(require_token(&parts("GET", &[]), "secret").is_ok());
    }
}
