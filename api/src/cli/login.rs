//! `GET /v1/auth/login` and what follows: a person lets the command line on his own machine act for him.
//!
//! The command line waits on a port of its loopback address and sends the browser here. Who is signed in, or signs in
//! here, is asked whether he meant it; then the browser takes a new personal token to that port, and nowhere else.

use std::sync::Arc;

use axum::extract::{RawForm, State};
use axum::response::{Html, IntoResponse, Response};
use chrono::TimeDelta;
use domain::ids::UserId;
use domain::user::UserCommand;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use projections::teams::TeamRow;
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::auth::login::{self, Login};
use crate::auth::token::NewToken;
use crate::body::{Body, Query};
use crate::error::ApiError;
use crate::gate::{self, Caller, Principal};
use crate::me;
use crate::platform::Platform;
use crate::router::providers_of;

/// How long the command line may act for a person before he is asked again.
const GOOD_FOR: TimeDelta = TimeDelta::days(90);

/// Teams that are offered; the command line can switch to any other.
const MANY: i64 = 200;

/// Where the command line waits, and what it knows the answer by.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Wish {
    cli_port: u16,
    state: String,
}

/// What the page sends back.
#[derive(Deserialize)]
struct Confirmed {
    cli_port: u16,
    state: String,
    csrf: String,
    team: String,
}

/// Who signs in with what he knows.
#[derive(Deserialize)]
struct Known {
    cli_port: u16,
    state: String,
    email: String,
    password: String,
    #[serde(default)]
    totp: String,
}

/// `GET /v1/auth/login?cli_port=&state=` — asks, or has the person sign in first.
pub(crate) async fn show(
    State(platform): State<Arc<Platform>>,
    Query(wish): Query<Wish>,
    parts: Parts,
) -> Result<Response, ApiError> {
    super::count(&platform, &parts)?;
    wish.check()?;
    let Some(session) = Session::of(&platform, &parts).await? else {
        return Ok(sign_in_page(&platform, &wish, &parts, None));
    };
    let teams = session.teams(&platform).await?;
    let Some((first, others)) = teams.split_first() else {
        return Ok(page(
            StatusCode::OK,
            &wish,
            "<p>You belong to no team yet. Make one, or have yourself invited.</p>",
        ));
    };
    let option =
        |team: &TeamRow| format!("<option value=\"{}\">{}</option>", team.id, escaped(team.name.as_str()));
    let options: String = [first].into_iter().chain(others).map(option).collect();
    let text = format!(
        "<p>A <code>mastra</code> command line waits on port {} of this machine. It will be able to do whatever \
         {} may do, until the token is revoked. Go on only if you have just called <code>mastra auth login</code> \
         yourself.</p>\
         <form method=\"post\" action=\"/v1/auth/login/confirm\">{}\
         <input type=\"hidden\" name=\"csrf\" value=\"{}\">\
         <p><label>Team <select name=\"team\">{options}</select></label></p>\
         <button>Let it in</button></form>",
        wish.cli_port,
        escaped(&session.email),
        wish.hidden(),
        escaped(&session.csrf_token),
    );
    Ok(page(StatusCode::OK, &wish, &text))
}

/// `POST /v1/auth/login` — signs in with e-mail and password, and asks then.
pub(crate) async fn sign_in(
    State(platform): State<Arc<Platform>>,
    parts: Parts,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    super::count(&platform, &parts)?;
    own_page(&platform, &parts)?;
    let Known { cli_port, state, email, password, totp } = read(&form)?;
    let wish = Wish { cli_port, state };
    wish.check()?;
    let caller = gate::visitor_as(&platform, &parts, Principal::Nobody)?;
    let body = Body(Login::new(email, password, Some(totp).filter(|totp| !totp.is_empty())));
    match login::handler(State(platform.clone()), caller, body).await {
        Ok(signed_in) => {
            let mut response = see_other(&format!("/v1/auth/login?{}", wish.query()));
            for cookie in signed_in.headers().get_all(header::SET_COOKIE) {
                response.headers_mut().append(header::SET_COOKIE, cookie.clone());
            }
            Ok(response)
        }
        Err(refused) => {
            let why = refused.detail().unwrap_or("That did not work.").to_owned();
            Ok(sign_in_page(&platform, &wish, &parts, Some(&why)))
        }
    }
}

/// `POST /v1/auth/login/confirm` — makes the token, and has the browser take it to the command line.
pub(crate) async fn confirm(
    State(platform): State<Arc<Platform>>,
    parts: Parts,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    super::count(&platform, &parts)?;
    own_page(&platform, &parts)?;
    let Confirmed { cli_port, state, csrf, team } = read(&form)?;
    let wish = Wish { cli_port, state };
    wish.check()?;
    let session = Session::of(&platform, &parts).await?.ok_or_else(ApiError::unauthorized)?;
    if !bool::from(csrf.as_bytes().ct_eq(session.csrf_token.as_bytes())) {
        return Err(ApiError::forbidden("This page is an old one: load it again."));
    }
    let team = session.teams(&platform).await?.into_iter().find(|one| one.id.to_string() == team);
    let team = team.ok_or_else(ApiError::not_found)?;
    let token = session.token(&platform).await?;
    let user = json!({ "id": session.user, "email": session.email }).to_string();
    let query = encoded(&[
        ("state", &wish.state),
        ("token", &token.plain),
        // It is decoded twice there.
        ("user", &utf8_percent_encode(&user, NON_ALPHANUMERIC).to_string()),
        ("org", &team.id.to_string()),
    ]);
    Ok(see_other(&format!("http://127.0.0.1:{}/callback?{query}", wish.cli_port)))
}

/// Whose browser it is.
struct Session {
    user: UserId,
    email: String,
    csrf_token: String,
    caller: Caller,
}

impl Session {
    async fn of(platform: &Platform, parts: &Parts) -> Result<Option<Self>, ApiError> {
        let Some(caller) = gate::visitor_with_cookie(platform, parts).await? else { return Ok(None) };
        let Principal::Session { user, csrf_token, .. } = &caller.principal else { return Ok(None) };
        let me = me::show::view(platform, *user).await?;
        let email = me["email"].as_str().unwrap_or_default().to_owned();
        Ok(Some(Self { user: *user, email, csrf_token: csrf_token.clone(), caller }))
    }

    /// That where he looks first.
    async fn teams(&self, platform: &Platform) -> Result<Vec<TeamRow>, ApiError> {
        let user = projections::users::find(&platform.pool, self.user).await?;
        let active = user.and_then(|user| user.active_team_id);
        let mut teams = projections::teams::of_user(&platform.pool, self.user, None, MANY).await?;
        teams.sort_by_key(|team| Some(team.id) != active);
        Ok(teams)
    }

    /// A new personal token, which works when it is answered.
    async fn token(&self, platform: &Platform) -> Result<NewToken, ApiError> {
        let token = NewToken::api(None, platform.commands.vault()).await?;
        let command = UserCommand::CreateUserToken {
            token_id: platform.new_id(),
            name: "mastra command line".parse().expect("a good name"),
            hash: token.hex(),
            prefix: token.prefix(),
            last_four: token.last_four(),
            scopes: vec![],
            ip_allowlist: vec![],
            expires_at: Some(self.caller.at() + GOOD_FOR),
        };
        let receipt = platform.commands.user(self.user, command, &self.caller.context(None)).await?;
        platform.caught_up(&receipt).await;
        Ok(token)
    }
}

impl Wish {
    /// Only a port that a program of a person may listen on, and a state that is nothing but that.
    fn check(&self) -> Result<(), ApiError> {
        if self.cli_port < 1024 {
            return Err(ApiError::field("cli_port", "out_of_range", "must be 1024 to 65535"));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !(8..=128).contains(&self.state.len()) || !self.state.chars().all(good) {
            return Err(ApiError::field("state", "invalid", "must be 8 to 128 letters and digits"));
        }
        Ok(())
    }

    fn query(&self) -> String {
        encoded(&[("cli_port", &self.cli_port.to_string()), ("state", &self.state)])
    }

    fn hidden(&self) -> String {
        format!(
            "<input type=\"hidden\" name=\"cli_port\" value=\"{}\"><input type=\"hidden\" name=\"state\" value=\"{}\">",
            self.cli_port, self.state
        )
    }
}

/// A form of another site is not answered.
fn own_page(platform: &Platform, parts: &Parts) -> Result<(), ApiError> {
    if gate::is_own_origin(&parts.headers, &platform.settings.public_url) {
        return Ok(());
    }
    Err(ApiError::forbidden("The request came from another site."))
}

fn read<'a, T: Deserialize<'a>>(form: &'a [u8]) -> Result<T, ApiError> {
    let unread =
        |_| ApiError::new(StatusCode::BAD_REQUEST, "malformed", "The form is not that of this page.");
    serde_urlencoded::from_bytes(form).map_err(unread)
}

fn sign_in_page(platform: &Platform, wish: &Wish, parts: &Parts, why: Option<&str>) -> Response {
    let here = format!("{}?{}", parts.uri.path(), wish.query());
    let why = why.map_or_else(String::new, |why| format!("<p><strong>{}</strong></p>", escaped(why)));
    let text = format!(
        "<p>Sign in to let the <code>mastra</code> command line on this machine act for you.</p>{why}{}\
         <form method=\"post\" action=\"/v1/auth/login\">{}\
         <p><label>E-mail <input name=\"email\" type=\"email\" autocomplete=\"username\" required></label></p>\
         <p><label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required>\
         </label></p>\
         <p><label>Code of the second factor, if you have one <input name=\"totp\" autocomplete=\"one-time-code\">\
         </label></p><button>Sign in</button></form>",
        providers_of(platform, &here),
        wish.hidden(),
    );
    page(StatusCode::UNAUTHORIZED, wish, &text)
}

fn page(status: StatusCode, wish: &Wish, text: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>mastra auth login</title>\
         <h1>mastra auth login</h1>{text}</html>"
    );
    // Browsers ask it about where a form leads in the end, too.
    let csp = format!(
        "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' http://127.0.0.1:{}",
        wish.cli_port
    );
    let mut response = (status, Html(html)).into_response();
    if let Ok(csp) = HeaderValue::try_from(csp) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, csp);
    }
    guarded(response)
}

fn see_other(to: &str) -> Response {
    guarded((StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response())
}

/// What every answer here has. Without a referrer of its own a browser would not say where a form was.
fn guarded(mut response: Response) -> Response {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
