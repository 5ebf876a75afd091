//! What opens the repositories of projects, and who tells of pushes to them.

use domain::policy::Action::{Create, Delete, Read, Update};
use domain::policy::Resource as On;

use super::{Route, delete, get, post, put};
use crate::gate::Needs::{Project, Public};
use crate::webhooks::project;
use crate::{push_hooks, repository};

pub(super) fn repository_routes() -> Vec<Route> {
    vec![
        get(
            "/api/v1/projects/{project}/repository",
            Project(On::Project, Read),
            "What opens the repository of a project",
            repository::show,
        )
        .gives::<repository::View>()
        .knows_past(&[]),
        put(
            "/api/v1/projects/{project}/repository/token",
            Project(On::Project, Update),
            "Sets what opens the repository over https",
            repository::set_token,
        )
        .gives::<repository::View>(),
        delete(
            "/api/v1/projects/{project}/repository/token",
            Project(On::Project, Update),
            "Forgets what opens the repository over https",
            repository::remove_token,
        )
        .gives::<repository::View>(),
        post(
            "/api/v1/projects/{project}/repository/deploy-key",
            Project(On::Project, Update),
            "Makes a key pair that opens the repository over ssh",
            repository::make_deploy_key,
        )
        .gives::<repository::View>(),
        delete(
            "/api/v1/projects/{project}/repository/deploy-key",
            Project(On::Project, Update),
            "Forgets the key pair",
            repository::remove_deploy_key,
        )
        .gives::<repository::View>(),
        put(
            "/api/v1/projects/{project}/repository/host-keys",
            Project(On::Project, Update),
            "Says which keys the ssh server of the repository has",
            repository::pin_host_keys,
        )
        .gives::<repository::View>(),
        post(
            "/api/v1/projects/{project}/repository/host-keys/scan",
            Project(On::Project, Update),
            "The keys that the ssh server of the repository shows; nothing proves them",
            repository::scan,
        )
        .lists::<repository::PublicKey>()
        .also(&[409, 503]),
    ]
    .into_iter()
    .chain(hook_routes())
    .collect()
}

fn hook_routes() -> [Route; 5] {
    [
        post("/api/webhooks/git/{hook}", Public, "A git host tells a project of a push", project::handler)
            .also(&[401, 404])
            .status(202),
        get(
            "/api/v1/projects/{project}/push-hooks",
            Project(On::ProjectTokens, Read),
            "Webhooks by which git hosts tell a project of pushes",
            push_hooks::list,
        )
        .lists::<push_hooks::View>()
        .knows_past(&[]),
        post(
            "/api/v1/projects/{project}/push-hooks",
            Project(On::ProjectTokens, Create),
            "Makes a webhook for a git host",
            push_hooks::create,
        )
        .gives::<push_hooks::NewSecret>()
        .status(201),
        post(
            "/api/v1/projects/{project}/push-hooks/{hook}/rotate",
            Project(On::ProjectTokens, Update),
            "Gives a webhook another secret",
            push_hooks::rotate,
        )
        .gives::<push_hooks::NewSecret>(),
        delete(
            "/api/v1/projects/{project}/push-hooks/{hook}",
            Project(On::ProjectTokens, Delete),
            "Ends a webhook",
            push_hooks::delete,
        ),
    ]
}
