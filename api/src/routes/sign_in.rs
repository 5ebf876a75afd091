//! How one signs in, and where one is signed in.

use super::{Route, delete, get, post};
use crate::gate::Needs::{Public, SignedIn};
use crate::{auth, webhooks};

pub(super) fn sign_in_routes() -> Vec<Route> {
    vec![
        get("/api/v1/auth/providers", Public, "How one can sign in", auth::providers::handler),
        post("/api/v1/auth/setup", Public, "Makes the first user, once", auth::setup::handler)
            .also(&[403])
            .status(201),
        post(
            "/api/v1/auth/register",
            Public,
            "Makes an account of somebody who was invited",
            auth::register::handler,
        )
        .also(&[410])
        .status(201),
        post("/api/v1/auth/login", Public, "Begins a session", auth::login::handler).also(&[401, 403]),
        get(
            "/api/v1/auth/{provider}/authorize",
            Public,
            "Sends a browser to a sign-in provider",
            auth::authorize::handler,
        )
        .status(302),
        get(
            "/api/v1/auth/{provider}/callback",
            Public,
            "A browser comes back from a sign-in provider",
            auth::callback::handler,
        )
        .also(&[401, 403, 409])
        .status(302),
        post(
            "/api/webhooks/{provider}",
            Public,
            "A sign-in provider tells of its people and organizations",
            webhooks::handler,
        )
        .also(&[400, 401]),
        post("/api/v1/auth/logout", SignedIn, "Ends the session that asks", auth::logout::handler),
        post("/api/v1/auth/password", SignedIn, "Sets another password", auth::change_password::handler),
        post("/api/v1/auth/totp", SignedIn, "Makes a second factor", auth::second_factor::propose),
        post(
            "/api/v1/auth/totp/confirm",
            SignedIn,
            "Has the second factor asked for",
            auth::second_factor::confirm,
        ),
        delete("/api/v1/auth/totp", SignedIn, "Takes the second factor away", auth::second_factor::remove)
            .also(&[404]),
        get("/api/v1/auth/sessions", SignedIn, "Where one is signed in", auth::sessions::list)
            .lists::<auth::sessions::View>(),
        delete(
            "/api/v1/auth/sessions",
            SignedIn,
            "Ends all sessions but the one that asks",
            auth::sessions::delete_others,
        ),
        delete("/api/v1/auth/sessions/{session}", SignedIn, "Ends a session", auth::sessions::delete),
    ]
}
