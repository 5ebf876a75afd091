//! Which headers cross the router, and which it sets itself.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of one hop (RFC 9110, 7.6.1), and those that say where a request came from: believed from nobody.
const DROPPED: [&str; 14] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-prefix",
    "x-real-ip",
];
/// The platform's own: no business of an app's.
const OWN: [&str; 2] = ["x-csrf-token", "x-min-position"];
/// The platform's own cookies, with TLS with `__Host-` before them.
const COOKIES: [&str; 4] = ["mastra_session", "mastra_sign_in", "mastra_access", "mastra_access_state"];

/// Makes a request's headers those that the app may see.
pub(super) fn outward(request: &mut Request, prefix: &str, is_https: bool, upgrade: Option<HeaderValue>) {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let host = request.headers().get(header::HOST).cloned();
    let headers = request.headers_mut();
    drop_hop(headers);
    for name in OWN {
        headers.remove(name);
    }
    cut_cookies(headers);
    headers.remove(header::HOST);
    let proto = if is_https { "https" } else { "http" };
    headers.insert("x-forwarded-proto", HeaderValue::from_static(proto));
    if let Some(ip) = peer.and_then(|ip| HeaderValue::try_from(ip.to_string()).ok()) {
        headers.insert("x-forwarded-for", ip);
    }
    if let Some(host) = host {
        headers.insert("x-forwarded-host", host);
    }
    if let Some(prefix) = Some(prefix).filter(|prefix| !prefix.is_empty())
        && let Ok(prefix) = HeaderValue::try_from(prefix)
    {
        headers.insert("x-forwarded-prefix", prefix);
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

/// Makes an answer's headers those that the client may see.
pub(super) fn homeward(headers: &mut HeaderMap, prefix: &str, is_upgrade: bool) {
    let upgrade = headers.get(header::UPGRADE).cloned().filter(|_| is_upgrade);
    drop_hop(headers);
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    // An app that knows nothing of its prefix sends people to its own root.
    let location =
        headers.get(header::LOCATION).and_then(|location| location.to_str().ok()).map(str::to_owned);
    if let Some(path) = location.filter(|path| path.starts_with('/') && !path.starts_with("//"))
        && path != prefix
        && !path.starts_with(&format!("{prefix}/"))
        && let Ok(moved) = HeaderValue::try_from(format!("{prefix}{path}"))
    {
        headers.insert(header::LOCATION, moved);
    }
    let kept: Vec<_> = headers.get_all(header::SET_COOKIE).iter().filter_map(own_cookie).collect();
    headers.remove(header::SET_COOKIE);
    for value in kept {
        headers.append(header::SET_COOKIE, value);
    }
}

/// A cookie that an app sets, for its own host alone: a wider one would reach other apps, or the platform.
fn own_cookie(value: &HeaderValue) -> Option<HeaderValue> {
    let bytes = value.as_bytes();
    let name = bytes.split(|byte| matches!(byte, b'=' | b';')).next().unwrap_or_default();
    if is_of_the_platform(&String::from_utf8_lossy(name)) {
        return None;
    }
    let is_domain = |part: &&[u8]| {
        part.trim_ascii_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case(b"domain"))
    };
    let mut parts = bytes.split(|byte| *byte == b';');
    let pair = parts.next()?;
    let rest: Vec<&[u8]> = parts.filter(|part| !is_domain(part)).collect();
    HeaderValue::from_bytes(&[&[pair][..], &rest].concat().join(&b';')).ok()
}

fn is_of_the_platform(cookie: &str) -> bool {
    let name = cookie.trim();
    COOKIES.contains(&name.strip_prefix("__Host-").unwrap_or(name))
}

fn drop_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in DROPPED {
        headers.remove(name);
    }
    headers.remove(header::UPGRADE);
}

fn cut_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<String> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .map(str::trim)
        .filter(|pair| !is_of_the_platform(pair.split('=').next().unwrap_or_default()))
        .filter(|pair| !pair.is_empty())
        .map(str::to_owned)
        .collect();
    headers.remove(header::COOKIE);
    if let (false, Ok(value)) = (cookies.is_empty(), HeaderValue::try_from(cookies.join("; "))) {
        headers.insert(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn what_says_where_a_request_came_from_is_set_by_us_alone() {
        let mut request = Request::new(axum::body::Body::empty());
        *request.headers_mut() = headers(&[
            ("host", "admin.example"),
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("connection", "close, x-secret-hop"),
            ("x-secret-hop", "1"),
            ("cookie", "a=1; mastra_session=s; b=2"),
            ("authorization", "Bearer app"),
            ("x-csrf-token", "t"),
        ]);
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 9], 1))));
        outward(&mut request, "/p/a/b", false, None);
        let seen = request.headers();
        assert_eq!(seen["x-forwarded-for"], "192.0.2.9");
        assert_eq!(seen["x-forwarded-host"], "admin.example");
        assert_eq!(seen["x-forwarded-prefix"], "/p/a/b");
        assert_eq!(seen["cookie"], "a=1; b=2");
        assert_eq!(seen["authorization"], "Bearer app");
        for gone in ["forwarded", "connection", "x-secret-hop", "x-csrf-token", "host"] {
            assert!(!seen.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn an_app_cannot_set_the_platforms_cookie_and_its_redirects_stay_inside() {
        let mut answer = headers(&[("location", "/login"), ("set-cookie", "mastra_session=evil; Path=/")]);
        for cookie in ["mine=1; Domain=example.org; Path=/", "__Host-mastra_access=evil", "domain=1"] {
            answer.append("set-cookie", HeaderValue::from_static(cookie));
        }
        homeward(&mut answer, "/p/a/b", false);
        assert_eq!(answer["location"], "/p/a/b/login");
        let cookies: Vec<_> = answer.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["mine=1; Path=/", "domain=1"]);
        let mut elsewhere = headers(&[("location", "https://example.org/")]);
        homeward(&mut elsewhere, "/p/a/b", false);
        assert_eq!(elsewhere["location"], "https://example.org/");
    }
}
