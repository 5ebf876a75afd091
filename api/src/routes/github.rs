//! GitHub: installations, what they open, and what came of what they told.

use domain::policy::Action::{Create, Delete, Read};
use domain::policy::Resource as On;

use super::{Route, delete, get, post};
use crate::gate::Needs::{Installation, Public, SignedIn, Team};
use crate::github::{callback, install_url, installations, repositories};
use crate::webhooks::{deliveries, inbox};

#[expect(clippy::too_many_lines, reason = "a table: one entry a route")]
pub(super) fn github_routes() -> Vec<Route> {
    vec![
        post("/api/webhooks/github", Public, "GitHub tells of pushes and installations", inbox::handler)
            .also(&[401, 404])
            .status(202),
        get(
            "/api/v1/teams/{team}/github/install-url",
            Team(On::TeamInstallations, Create),
            "Where the GitHub App is installed for a team",
            install_url::handler,
        )
        .gives::<install_url::View>()
        .also(&[409, 503]),
        get(
            "/api/v1/github/callback",
            SignedIn,
            "Somebody comes back from installing the GitHub App",
            callback::handler,
        )
        .gives::<installations::View>()
        .also(&[202, 403, 404, 409, 503]),
        get(
            "/api/v1/teams/{team}/installations",
            Team(On::TeamInstallations, Read),
            "Installations of the GitHub App that a team has connected",
            installations::list,
        )
        .lists::<installations::View>()
        .knows_past(&[]),
        delete(
            "/api/v1/installations/{installation}",
            Installation(On::TeamInstallations, Delete),
            "Disconnects an installation from its team",
            installations::delete,
        ),
        get(
            "/api/v1/installations/{installation}/repositories",
            Installation(On::TeamInstallations, Read),
            "Repositories that an installation opens",
            repositories::list,
        )
        .lists::<repositories::View>()
        .also(&[409, 503]),
        get(
            "/api/v1/installations/{installation}/repositories/{owner}/{name}/branches",
            Installation(On::TeamInstallations, Read),
            "Branches of a repository",
            repositories::branches,
        )
        .lists::<repositories::Branch>()
        .also(&[409, 503]),
        get(
            "/api/v1/installations/{installation}/repositories/{owner}/{name}/apps",
            Installation(On::TeamInstallations, Read),
            "Mastra apps in a repository",
            repositories::apps,
        )
        .lists::<repositories::App>()
        .also(&[409, 503]),
        get(
            "/api/v1/teams/{team}/deliveries",
            Team(On::Build, Read),
            "What git hosts have told, and what came of it",
            deliveries::list,
        )
        .lists::<deliveries::View>(),
        get(
            "/api/v1/teams/{team}/deliveries/{delivery}",
            Team(On::Build, Read),
            "One delivery of a git host, and what came of it",
            deliveries::show,
        )
        .gives::<deliveries::View>(),
    ]
}
