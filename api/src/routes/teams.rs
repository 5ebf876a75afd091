//! The part of the table that is about teams, their members and invites.

use domain::policy::Action::{Create, Delete, Read, Update};
use domain::policy::Resource as On;

use super::{Route, delete, get, patch, post};
use crate::gate::Needs::{ClosedTeam, SignedIn, Team, TeamOrSelf};
use crate::{roles, teams};

pub(super) fn team_routes() -> Vec<Route> {
    use teams::members;
    vec![
        get("/api/v1/teams", SignedIn, "The teams of who asks", teams::list::handler)
            .lists::<teams::show::View>(),
        post("/api/v1/teams", SignedIn, "Makes a team", teams::create::handler)
            .gives::<teams::show::View>()
            .status(201),
        get("/api/v1/teams/{team}", Team(On::Team, Read), "One team", teams::show::handler)
            .gives::<teams::show::View>()
            .knows_past(&[]),
        patch("/api/v1/teams/{team}", Team(On::Team, Update), "Another name or slug", teams::update::handler)
            .gives::<teams::show::View>(),
        delete("/api/v1/teams/{team}", Team(On::Team, Delete), "Closes a team", teams::delete::handler)
            .gives::<teams::show::View>(),
        post(
            "/api/v1/teams/{team}/restore",
            ClosedTeam(On::Team, Delete),
            "Opens a closed team again, as it was",
            teams::restore::handler,
        )
        .gives::<teams::show::View>(),
        post(
            "/api/v1/teams/{team}/transfer",
            Team(On::Team, Delete),
            "An owner gives the team to another member",
            teams::transfer::handler,
        ),
        get(
            "/api/v1/teams/{team}/members",
            Team(On::TeamMembers, Read),
            "Who belongs to a team",
            members::list,
        )
        .lists::<members::View>()
        .knows_past(&["user"]),
        patch(
            "/api/v1/teams/{team}/members/{user}",
            Team(On::TeamMembers, Update),
            "Gives a member another role",
            members::update,
        )
        .gives::<members::View>(),
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
        .lists::<roles::View>()
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
        .lists::<invites::list::View>()
        .knows_past(&[]),
        post(
            "/api/v1/teams/{team}/invites",
            Team(On::TeamInvites, Create),
            "Invites an address",
            invites::create::handler,
        )
        .gives::<invites::list::View>()
        .status(201),
        post(
            "/api/v1/teams/{team}/invites/{invite}/resend",
            Team(On::TeamInvites, Create),
            "Sends an invite once more, with another secret",
            invites::resend::handler,
        )
        .gives::<invites::list::View>()
        .also(&[410]),
        delete(
            "/api/v1/teams/{team}/invites/{invite}",
            Team(On::TeamInvites, Delete),
            "Takes an invite back",
            invites::revoke::handler,
        ),
    ]
}
