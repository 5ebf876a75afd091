//! Every route of the API: who may call it, what it is for, and what answers it. The only place that makes one.

mod audit;
mod roles;
mod sign_in;
mod table;
mod teams;

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;
use serde_json::Value;
use utoipa::ToSchema;

use crate::gate::{AsOf, Needs};
use crate::platform::Platform;

pub(crate) use table::table;

/// One route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) needs: Needs,
    pub(crate) summary: &'static str,
    /// Name and schema of the body.
    pub(crate) body: Option<(String, Value)>,
    pub(crate) body_required: bool,
    /// Query parameters.
    pub(crate) query: &'static [&'static str],
    /// Whether it answers `?asOf=`.
    pub(crate) as_of: AsOf,
    /// Status of a good answer.
    pub(crate) status: u16,
    /// Media type of a good answer.
    pub(crate) answers: &'static str,
    pub(crate) service: MethodRouter<Arc<Platform>>,
}

const PAGE: &[&str] = &["limit", "cursor"];

impl Route {
    fn new<H, T>(method: Method, path: &'static str, needs: Needs, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Platform>>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("a usual method");
        let service = on(filter, handler);
        let (body, query) = (None, &[][..]);
        let (status, answers, body_required) = (200, "application/json", false);
        Self {
            method,
            path,
            needs,
            summary,
            body,
            body_required,
            query,
            as_of: None,
            status,
            answers,
            service,
        }
    }

    fn body<B: ToSchema>(mut self) -> Self {
        let schema = serde_json::to_value(B::schema()).expect("a schema serialises");
        self.body_required = schema["required"].as_array().is_some_and(|required| !required.is_empty());
        self.body = Some((B::name().into_owned(), schema));
        self
    }

    fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    /// It answers `?asOf=`, from what its path names and from all of these kinds.
    fn knows_past(self, all: &'static [&'static str]) -> Self {
        Self { as_of: Some(all), ..self }
    }

    fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn answers(self, answers: &'static str) -> Self {
        Self { answers, ..self }
    }

    /// A name of its own: `post_teams_team_invites`.
    pub(crate) fn name(&self) -> String {
        let words =
            self.path.trim_start_matches("/api/v1").replace(['{', '}', '.'], "").replace(['/', '-'], "_");
        format!("{}{words}", self.method.as_str().to_lowercase())
    }

    /// The group it belongs to.
    pub(crate) fn tag(&self) -> &'static str {
        self.path.trim_start_matches("/api/v1").split('/').nth(1).unwrap_or("system")
    }
}

fn get<H: Handler<T, Arc<Platform>>, T: 'static>(
    path: &'static str,
    needs: Needs,
    what: &'static str,
    h: H,
) -> Route {
    Route::new(Method::GET, path, needs, what, h)
}

fn post<H: Handler<T, Arc<Platform>>, T: 'static>(
    path: &'static str,
    needs: Needs,
    what: &'static str,
    h: H,
) -> Route {
    Route::new(Method::POST, path, needs, what, h)
}

fn put<H: Handler<T, Arc<Platform>>, T: 'static>(
    path: &'static str,
    needs: Needs,
    what: &'static str,
    h: H,
) -> Route {
    Route::new(Method::PUT, path, needs, what, h)
}

fn patch<H: Handler<T, Arc<Platform>>, T: 'static>(
    path: &'static str,
    needs: Needs,
    what: &'static str,
    h: H,
) -> Route {
    Route::new(Method::PATCH, path, needs, what, h)
}

fn delete<H: Handler<T, Arc<Platform>>, T: 'static>(
    path: &'static str,
    needs: Needs,
    what: &'static str,
    h: H,
) -> Route {
    Route::new(Method::DELETE, path, needs, what, h)
}
