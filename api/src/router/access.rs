//! Who may use a protected environment: whoever may read its project, or only programs with a token of it.
//!
//! Invariant: what is let in is asked for again every two seconds as long as its answer goes on. A credential of the
//! platform that lets somebody in never reaches the app.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use domain::policy::{self, Action, Resource};
use domain::project::Protection;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::connection::Lost;
use super::table::{Route, Target};
use super::{Router, sign_in};
use crate::error::ApiError;
use crate::gate::{self, Caller, EVERY, Principal, Standing, cookie_name, cookie_of};
use crate::platform::Platform;

/// Sent beside an `Authorization` that is the app's own.
const X_MASTRA_TOKEN: &str = "x-mastra-token";

/// What credentials of the platform begin with: tokens, sessions, and what deployments send telemetry with.
const OURS: [&str; 3] = ["ma_", "mas_", "mad_"];

/// Lets a request in, or answers it.
pub(super) async fn admit(
    platform: &Arc<Platform>,
    target: &Target,
    parts: &mut Parts,
) -> Result<Option<Standing>, Response> {
    let route = &target.route;
    // Also where everybody may come in: the app is not told who could do what elsewhere.
    let credential = credential(&mut parts.headers);
    if route.protection.is_public() {
        return Ok(None);
    }
    let caller = match credential {
        Some(bearer) => gate::visitor(platform, parts, &bearer).await.map_err(refused)?,
        None if route.protection == Protection::Team => {
            match sign_in::browser(platform, target, parts).await.map_err(refused)? {
                Some(caller) => caller,
                None => return Err(sign_in::ask(platform, target, parts)),
            }
        }
        None => return Err(refused(ApiError::unauthorized())),
    };
    let standing = standing(route, &caller);
    if !standing.holds(platform).await.map_err(refused)? {
        return Err(refused(ApiError::not_found()));
    }
    if route.protection == Protection::Token && !matches!(caller.principal, Principal::ProjectToken { .. }) {
        let detail = "This needs a token of the project.";
        return Err(refused(ApiError::forbidden(detail)));
    }
    Ok(Some(standing))
}

/// The right to use an environment, for as long as it holds.
pub(super) fn standing(route: &Route, caller: &Caller) -> Standing {
    let context = policy::Context {
        environment: Some(route.environment),
        ..caller.context_of(route.team, Some(route.project))
    };
    Standing::new(caller.clone(), Some((Resource::Project, Action::Read, context)))
}

/// A 401 that tells programs what to send.
fn refused(problem: ApiError) -> Response {
    let mut response = problem.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The credential of the platform in a request; it is taken out.
fn credential(headers: &mut HeaderMap) -> Option<String> {
    let ours = |value: &HeaderValue| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        let token = token.trim();
        let is_ours =
            scheme.eq_ignore_ascii_case("bearer") && OURS.iter().any(|begin| token.starts_with(begin));
        is_ours.then(|| token.to_owned())
    };
    let bearer = headers.get(header::AUTHORIZATION).and_then(ours);
    if bearer.is_some() {
        headers.remove(header::AUTHORIZATION);
    }
    let own = headers.remove(X_MASTRA_TOKEN);
    own.and_then(|value| value.to_str().ok().map(|text| text.trim().to_owned())).or(bearer)
}

/// Whether a person looks at the answer.
pub(super) fn is_navigation(parts: &Parts) -> bool {
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    parts.method == Method::GET
        && header(header::ACCEPT).is_some_and(|accept| accept.contains("text/html"))
        && header(header::HeaderName::from_static("sec-fetch-mode")).is_none_or(|mode| mode == "navigate")
}

/// Whether a cookie counts: it comes along whichever page has asked, and other apps are neighbours on the same site. So
/// the page must be the app's own, or a person goes there.
pub(super) fn is_of_own_page(parts: &Parts) -> bool {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let host = parts.uri.authority().map(http::uri::Authority::as_str).or(header("host")).unwrap_or_default();
    let own_origin = |origin: &str| {
        origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
    };
    let from_here = match header("sec-fetch-site") {
        Some("same-origin" | "none") | None => true,
        Some(_) => is_navigation(parts) && header("sec-fetch-mode") == Some("navigate"),
    };
    // Browsers say where a WebSocket was opened.
    let origin = header("origin").map_or(header("upgrade").is_none(), own_origin);
    from_here && origin
}

/// Whether a request carries the platform's own session cookie.
pub(super) fn has_session(platform: &Platform, headers: &HeaderMap) -> bool {
    cookie_of(headers, cookie_name(platform.is_https())).is_some()
}

/// Ends when who was let in would be no more: another protection, or a right that is lost.
pub(super) fn lost(platform: Arc<Platform>, route: &Route, standing: Option<Standing>) -> Lost {
    let (environment, protection) = (route.environment, route.protection);
    Box::pin(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let router: &Router = &platform.router;
            match router.of_environment(environment) {
                Some(route) if route.protection.is_public() => continue,
                Some(route) if route.protection == protection => {}
                _ => return,
            }
            if let Some(standing) = &standing
                && matches!(standing.holds(&platform).await, Ok(false))
            {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pairs: &[(&'static str, &'static str)]) -> (Option<String>, Vec<String>) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let credential = credential(&mut headers);
        (credential, headers.keys().map(|name| name.as_str().to_owned()).collect())
    }

    #[test]
    fn a_cookie_counts_for_pages_of_the_app_and_for_who_goes_there() {
        let counts = |method: &str, pairs: &[(&'static str, &'static str)]| {
            let mut request =
                http::Request::builder().method(method).uri("/chat").header("host", "a--x.apps.test");
            for (name, value) in pairs {
                request = request.header(*name, *value);
            }
            is_of_own_page(&request.body(()).unwrap().into_parts().0)
        };
        let page = [("accept", "text/html"), ("sec-fetch-mode", "navigate")];
        let from = |site: &'static str| [("sec-fetch-site", site), page[0], page[1]];
        assert!(counts("GET", &[]) && counts("GET", &from("cross-site")) && counts("GET", &from("none")));
        assert!(counts("POST", &[("origin", "https://A--x.apps.test"), ("sec-fetch-site", "same-origin")]));
        assert!(counts("GET", &[("upgrade", "websocket"), ("origin", "https://a--x.apps.test")]));
        for (method, pairs) in [
            ("POST", &[("origin", "https://evil--y.apps.test")][..]),
            ("POST", &[("origin", "null")]),
            ("POST", &[("sec-fetch-site", "same-site")]),
            ("POST", &from("same-site")),
            ("GET", &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")]),
            ("GET", &[("upgrade", "websocket"), ("origin", "https://evil--y.apps.test")]),
            ("GET", &[("upgrade", "websocket")]),
        ] {
            assert!(!counts(method, pairs), "{method} {pairs:?}");
        }
    }

    #[test]
    fn the_platforms_credential_is_taken_out_and_the_apps_stays() {
        let none = Vec::<String>::new();
        assert_eq!(taken(&[("authorization", "Bearer ma_x")]), (Some("ma_x".into()), none.clone()));
        assert_eq!(taken(&[("authorization", "bearer mas_x")]), (Some("mas_x".into()), none.clone()));
        assert_eq!(taken(&[("authorization", "Bearer mad_x")]), (Some("mad_x".into()), none.clone()));
        assert_eq!(taken(&[("x-mastra-token", "ma_x")]), (Some("ma_x".into()), none.clone()));
        let both = [("x-mastra-token", "ma_x"), ("authorization", "Bearer of-the-app")];
        assert_eq!(taken(&both), (Some("ma_x".into()), vec!["authorization".to_owned()]));
        assert_eq!(taken(&[("authorization", "Basic eA==")]), (None, vec!["authorization".to_owned()]));
        let twice = [("x-mastra-token", "ma_x"), ("authorization", "Bearer ma_y")];
        assert_eq!(taken(&twice), (Some("ma_x".into()), none));
    }
}
