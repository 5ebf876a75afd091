//! Every route of the API: who may call it, what it is for, and what answers it. The only place that makes one.

mod audit;
mod cli;
mod endpoints;
mod env_vars;
mod github;
mod reads;
mod repository;
mod roles;
mod sign_in;
mod table;
mod teams;
mod telemetry;

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::gate::{AsOf, Needs};
use crate::platform::Platform;

use reads::Arguments;
pub(crate) use reads::{Reading, schema_of};
pub(crate) use table::table;

/// One route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) needs: Needs,
    pub(crate) summary: &'static str,
    /// What its handler takes from the request.
    pub(crate) reading: Reading,
    /// Whether it answers `?asOf=`.
    pub(crate) as_of: AsOf,
    /// Status of a good answer.
    pub(crate) status: u16,
    /// Media types of a good answer.
    pub(crate) answers: &'static [&'static str],
    /// What a good answer in JSON is; some object when absent.
    pub(crate) gives: Option<Gives>,
    /// Statuses of refusals besides those of every route of its kind.
    pub(crate) also: &'static [u16],
    pub(crate) service: MethodRouter<Arc<Platform>>,
}

/// What a good answer is. The function adds its schema to those that there are, and answers its name.
#[derive(Clone, Copy)]
pub(crate) enum Gives {
    /// One of it.
    One(fn(&mut Map<String, Value>) -> String),
    /// A page of them.
    List(fn(&mut Map<String, Value>) -> String),
}

impl Route {
    fn new<H, T>(method: Method, path: &'static str, needs: Needs, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Platform>>,
        T: Arguments + 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("a usual method");
        let service = on(filter, handler);
        Self {
            method,
            path,
            needs,
            summary,
            reading: T::told(),
            as_of: None,
            status: 200,
            answers: &["application/json"],
            gives: None,
            also: &[],
            service,
        }
    }

    /// It answers one of these.
    fn gives<T: ToSchema>(self) -> Self {
        Self { gives: Some(Gives::One(schema_of::<T>)), ..self }
    }

    /// It answers a page of these.
    fn lists<T: ToSchema>(self) -> Self {
        Self { gives: Some(Gives::List(schema_of::<T>)), ..self }
    }

    /// It may refuse with these, too.
    fn also(self, also: &'static [u16]) -> Self {
        Self { also, ..self }
    }

    /// It answers `?asOf=`, from what its path names and from all of these kinds.
    fn knows_past(self, all: &'static [&'static str]) -> Self {
        Self { as_of: Some(all), ..self }
    }

    fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn answers(self, answers: &'static [&'static str]) -> Self {
        Self { answers, ..self }
    }

    /// A name of its own: `post_teams_team_invites`.
    pub(crate) fn name(&self) -> String {
        let words =
            self.path.trim_start_matches("/api/v1").replace(['{', '}', '.'], "").replace(['/', '-'], "_");
        format!("{}{words}", self.method.as_str().to_lowercase())
    }

    /// Whether it says how the server is, also when it is not well.
    pub(crate) fn tells_health(&self) -> bool {
        self.path == "/api/health" || self.path == "/api/ready"
    }

    /// The group it belongs to.
    pub(crate) fn tag(&self) -> &'static str {
        match self.path.starts_with("/v1/") {
            true => "cli",
            false => self.path.trim_start_matches("/api/v1").split('/').nth(1).unwrap_or("system"),
        }
    }
}

fn get<H: Handler<T, Arc<Platform>>, T: Arguments + 'static>(
    path: &'static str,
    needs: Needs,
    what: &'static str,
    h: H,
) -> Route {
    Route::new(Method::GET, path, needs, what, h)
}

fn post<H: Handler<T, Arc<Platform>>, T: Arguments + 'static>(
    path: &'static str,
    needs: Needs,
    what: &'static str,
    h: H,
) -> Route {
    Route::new(Method::POST, path, needs, what, h)
}

fn put<H: Handler<T, Arc<Platform>>, T: Arguments + 'static>(
    path: &'static str,
    needs: Needs,
    what: &'static str,
    h: H,
) -> Route {
    Route::new(Method::PUT, path, needs, what, h)
}

fn patch<H: Handler<T, Arc<Platform>>, T: Arguments + 'static>(
    path: &'static str,
    needs: Needs,
    what: &'static str,
    h: H,
) -> Route {
    Route::new(Method::PATCH, path, needs, what, h)
}

fn delete<H: Handler<T, Arc<Platform>>, T: Arguments + 'static>(
    path: &'static str,
    needs: Needs,
    what: &'static str,
    h: H,
) -> Route {
    Route::new(Method::DELETE, path, needs, what, h)
}
