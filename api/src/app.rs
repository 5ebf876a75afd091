//! The whole API as one axum router.

use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::error::Problem;
use crate::openapi::Document;
use crate::platform::Platform;
use crate::{auth, finish, gate, invites, me, members, openapi, system, teams};

/// Every handler, under its path.
pub(crate) fn handlers() -> OpenApiRouter<Arc<Platform>> {
    OpenApiRouter::new()
        .merge(system::routes())
        .merge(auth::routes())
        .merge(me::routes())
        .merge(teams::routes())
        .merge(members::routes())
        .merge(invites::routes())
}

/// The API. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, so that addresses are known.
pub fn app(platform: Arc<Platform>) -> Router {
    let (router, document) = handlers().split_for_parts();
    let document = Document(openapi::complete(document).to_string().into());
    router
        .route_layer(from_fn_with_state(platform.clone(), gate::gate))
        .merge(openapi::pages())
        .fallback(async || Problem::not_found().into_response())
        .layer(Extension(document))
        .layer(CatchPanicLayer::custom(finish::panicked))
        .layer(from_fn_with_state(platform.clone(), finish::finish))
        .with_state(platform)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::routes::{Need, ROUTES};

    /// Method and path of every handler, and its operation's name.
    fn operations() -> BTreeMap<(String, String), Option<String>> {
        let document = openapi::complete(handlers().into_openapi());
        let document = serde_json::to_value(document).unwrap();
        let mut all = BTreeMap::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().map(str::to_owned);
                all.insert((method.to_uppercase(), path.clone()), name);
            }
        }
        all
    }

    #[test]
    fn every_handler_is_in_the_table_and_every_line_of_the_table_has_a_handler() {
        let handlers: BTreeSet<_> = operations().into_keys().collect();
        let table: BTreeSet<_> =
            ROUTES.iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
        assert_eq!(handlers, table);
        assert_eq!(table.len(), ROUTES.len(), "no route stands there twice");
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let operations = operations();
        let names: BTreeSet<_> = operations.values().flatten().collect();
        assert_eq!(names.len(), operations.len());
    }

    #[test]
    fn a_need_on_an_object_names_it_in_its_path() {
        for route in ROUTES {
            let (Need::On(object, ..) | Need::OnOrSelf(object, ..)) = route.need else { continue };
            let parameter = format!("{{{}}}", object.parameter());
            assert!(route.path.contains(&parameter), "{}", route.path);
            let is_self = matches!(route.need, Need::OnOrSelf(..));
            assert!(!is_self || route.path.contains("{user}"), "{}", route.path);
        }
    }
}
