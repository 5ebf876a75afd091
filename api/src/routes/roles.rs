//! The part of the table that is about roles and who has them.

use domain::policy::Action::{Create, Delete, Read, Update};
use domain::policy::Resource as On;

use super::{Route, delete, get, patch, post};
use crate::gate::Needs::{Assignment, Given, Role, Team};
use crate::roles;

pub(super) fn role_routes() -> Vec<Route> {
    use roles::{assignments, write};
    vec![
        post(
            "/api/v1/teams/{team}/roles",
            Team(On::TeamMembers, Create),
            "Makes a custom role",
            write::create,
        )
        .gives::<roles::View>()
        .status(201),
        patch("/api/v1/roles/{role}", Role(On::TeamMembers, Update), "Changes a custom role", write::update)
            .gives::<roles::View>(),
        delete(
            "/api/v1/roles/{role}",
            Role(On::TeamMembers, Delete),
            "Ends a custom role, for all who have it",
            write::delete,
        ),
        get(
            "/api/v1/role-assignments",
            Given(On::TeamMembers, Read),
            "Who was given which role",
            assignments::list,
        )
        .lists::<assignments::View>()
        .also(&[404]),
        post(
            "/api/v1/role-assignments",
            Given(On::TeamMembers, Create),
            "Gives a role to somebody",
            assignments::assign,
        )
        .gives::<assignments::View>()
        .also(&[404])
        .status(201),
        delete(
            "/api/v1/role-assignments/{assignment}",
            Assignment(On::TeamMembers, Delete),
            "Takes a role back",
            assignments::unassign,
        ),
        get(
            "/api/v1/users/{user}/permissions",
            Given(On::TeamMembers, Read),
            "What somebody may do",
            assignments::of_user,
        ),
        get(
            "/api/v1/teams/{team}/access-review",
            Team(On::Audit, Read),
            "Who could do something, and why",
            roles::review::handler,
        )
        .answers(&["application/json", "text/csv"])
        .knows_past(&["user", "role", "role_assignment", "project"]),
    ]
}
