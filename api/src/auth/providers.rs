//! `GET /api/v1/auth/providers`: how one can sign in.

use serde::Serialize;

use super::account::LOCAL;
use crate::reply::Reply;

/// Ways to sign in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Providers {
    items: Vec<Provider>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct Provider {
    id: &'static str,
    name: &'static str,
    /// `password`: with `POST /auth/login`.
    kind: &'static str,
}

#[utoipa::path(get, path = "/api/v1/auth/providers", operation_id = "listProviders", tag = "auth",
    responses((status = 200, body = Providers)))]
pub(crate) async fn handler() -> Reply<Providers> {
    Reply::shown(Providers {
        items: vec![Provider { id: LOCAL, name: "E-mail and password", kind: "password" }],
    })
}
