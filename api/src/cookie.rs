//! The session cookie of browsers.

use axum::http::{HeaderMap, HeaderValue, header};
use chrono::TimeDelta;

use crate::platform::Settings;

/// On https the name itself tells browsers that the cookie is for this host alone.
fn name(settings: &Settings) -> &'static str {
    if settings.is_https() { "__Host-mastra_session" } else { "mastra_session" }
}

/// The session token that a browser sends.
pub(crate) fn read<'a>(headers: &'a HeaderMap, settings: &Settings) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    pairs
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name(settings))
        .map(|(_, value)| value)
}

/// Sets the cookie.
pub(crate) fn set(token: &str, lifetime: TimeDelta, settings: &Settings) -> HeaderValue {
    let secure = if settings.is_https() { "; Secure" } else { "" };
    let text = format!(
        "{}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{secure}",
        name(settings),
        lifetime.num_seconds()
    );
    HeaderValue::from_str(&text).expect("tokens are made of ASCII")
}

/// Takes the cookie away.
pub(crate) fn clear(settings: &Settings) -> HeaderValue {
    set("", TimeDelta::zero(), settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Settings {
        Settings::new(url.parse().unwrap(), "test".to_owned())
    }

    #[test]
    fn a_cookie_is_for_this_host_and_no_script() {
        let http = settings("http://localhost:8080");
        let https = settings("https://example.org");
        assert_eq!(
            set("t", TimeDelta::hours(1), &http),
            "mastra_session=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600"
        );
        assert_eq!(
            set("t", TimeDelta::hours(1), &https),
            "__Host-mastra_session=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure"
        );
        let headers = HeaderMap::from_iter([(
            header::COOKIE,
            HeaderValue::from_static("a=b; mastra_session=x; __Host-mastra_session=y"),
        )]);
        assert_eq!(read(&headers, &http), Some("x"));
        assert_eq!(read(&headers, &https), Some("y"));
        assert_eq!(read(&HeaderMap::new(), &https), None);
    }
}
