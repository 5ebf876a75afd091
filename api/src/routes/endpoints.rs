//! The part of the table that is about where teams are told what happens.

use domain::policy::Action::{Create, Delete, Read, Update};
use domain::policy::Resource::TeamEndpoints;

use super::{Route, delete, get, patch, post};
use crate::endpoints::{View, deliveries, list, replay, show, write};
use crate::gate::Needs::{Endpoint, Team};

#[expect(clippy::too_many_lines, reason = "a table: one entry a route")]
pub(super) fn endpoint_routes() -> Vec<Route> {
    vec![
        get(
            "/api/v1/teams/{team}/endpoints",
            Team(TeamEndpoints, Read),
            "Where a team is told what happens",
            list,
        )
        .lists::<View>(),
        post(
            "/api/v1/teams/{team}/endpoints",
            Team(TeamEndpoints, Create),
            "Has a team told what happens: by webhook, Slack or mail",
            write::create,
        )
        .gives::<write::NewSecret>()
        .status(201),
        get("/api/v1/endpoints/{endpoint}", Endpoint(TeamEndpoints, Read), "One endpoint", show)
            .gives::<View>(),
        patch(
            "/api/v1/endpoints/{endpoint}",
            Endpoint(TeamEndpoints, Update),
            "Changes, enables or disables an endpoint",
            write::update,
        )
        .gives::<View>(),
        delete(
            "/api/v1/endpoints/{endpoint}",
            Endpoint(TeamEndpoints, Delete),
            "Ends an endpoint, and destroys its address and secret",
            write::delete,
        ),
        post(
            "/api/v1/endpoints/{endpoint}/rotate",
            Endpoint(TeamEndpoints, Update),
            "Gives a webhook another secret",
            write::rotate,
        )
        .gives::<write::NewSecret>(),
        post(
            "/api/v1/endpoints/{endpoint}/ping",
            Endpoint(TeamEndpoints, Update),
            "Sends an endpoint a message, whatever it wants to hear of",
            write::ping,
        )
        .gives::<View>()
        .status(202),
        post(
            "/api/v1/endpoints/{endpoint}/replay",
            Endpoint(TeamEndpoints, Update),
            "Sends an endpoint what has happened",
            replay::handler,
        )
        .gives::<View>()
        .status(202),
        get(
            "/api/v1/endpoints/{endpoint}/deliveries",
            Endpoint(TeamEndpoints, Read),
            "What was sent to an endpoint, and how it went",
            deliveries::list,
        )
        .lists::<deliveries::View>(),
        get(
            "/api/v1/endpoints/{endpoint}/deliveries/{message}",
            Endpoint(TeamEndpoints, Read),
            "One delivery to an endpoint",
            deliveries::show,
        )
        .gives::<deliveries::View>(),
        post(
            "/api/v1/endpoints/{endpoint}/deliveries/{message}/redeliver",
            Endpoint(TeamEndpoints, Update),
            "Sends an endpoint once more what it was sent",
            deliveries::redeliver,
        )
        .gives::<View>()
        .status(202),
    ]
}
