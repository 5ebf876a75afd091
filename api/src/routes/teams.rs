//! The part of the table that is about teams, their members and invites.

use domain::policy::Action::{Create, Delete, Read, Update};
use domain::policy::Resource as On;

use super::{PAGE, Route, delete, get, patch, post};
use crate::gate::Needs::{SignedIn, Team, TeamOrSelf};
use crate::{roles, teams};

pub(super) fn team_routes() -> Vec<Route> {
    use teams::members;
    vec![
        get("/api/v1/teams", SignedIn, "The teams of who asks", teams::list::handler).query(PAGE),
        post("/api/v1/teams", SignedIn, "Makes a team", teams::create::handler)
            .body::<teams::create::CreateTeam>()
            .status(201),
        get("/api/v1/teams/{team}", Team(On::Team, Read), "One team", teams::show::handler).knows_past(&[]),
        patch("/api/v1/teams/{team}", Team(On::Team, Update), "Another name or slug", teams::update::handler)
            .body::<teams::update::ChangeTeam>(),
        delete("/api/v1/teams/{team}", Team(On::Team, Delete), "Closes a team", teams::delete::handler),
        post(
            "/api/v1/teams/{team}/transfer",
            Team(On::Team, Delete),
            "An owner gives the team to another member",
            teams::transfer::handler,
        )
        .body::<teams::transfer::TransferTeam>(),
        get(
            "/api/v1/teams/{team}/members",
            Team(On::TeamMembers, Read),
            "Who belongs to a team",
            members::list,
        )
        .query(PAGE)
        .knows_past(&["user"]),
        patch(
            "/api/v1/teams/{team}/members/{user}",
            Team(On::TeamMembers, Update),
            "Gives a member another role",
            members::update,
        )
        .body::<members::ChangeRole>(),
        delete(
            "/api/v1/teams/{team}/members/{user}",
            TeamOrSelf(On::TeamMembers, Delete),
            "Ends a membership; everybody may end his own",
            members::delete,
        ),
        get(
            "/api/v1/teams/{team}/roles",
            Team(On::TeamMembers, Read),
            "Custom roles of a team",
            roles::of_team,
        )
        .query(PAGE)
        .knows_past(&["role"]),
    ]
}

pub(super) fn invite_routes() -> Vec<Route> {
    use teams::invites;
    vec![
        get(
            "/api/v1/teams/{team}/invites",
            Team(On::TeamInvites, Read),
            "Who was invited",
            invites::list::handler,
        )
        .query(PAGE)
        .knows_past(&[]),
        post(
            "/api/v1/teams/{team}/invites",
            Team(On::TeamInvites, Create),
            "Invites an address",
            invites::create::handler,
        )
        .body::<invites::create::CreateInvite>()
        .status(201),
        post(
            "/api/v1/teams/{team}/invites/{invite}/resend",
            Team(On::TeamInvites, Create),
            "Sends an invite once more, with another secret",
            invites::resend::handler,
        ),
        delete(
            "/api/v1/teams/{team}/invites/{invite}",
            Team(On::TeamInvites, Delete),
            "Takes an invite back",
            invites::revoke::handler,
        ),
    ]
}
