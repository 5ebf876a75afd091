//! Every route with what it needs, written down once more from the permission table of the product, so that a mistake
//! in the server's own is found.

/// What a route is about: it decides what those are told who may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// Nothing of a tenant's, open to everybody.
    Nothing,
    /// Who asks: people, and no project's tokens.
    Person,
    /// Whatever a credential lets see, be it a person's or a project's token.
    Credential,
    /// The project of the token that sends it: tokens with `telemetry:write`, and nobody else.
    Sender,
    /// A team: who sees it is told that he may not, for all others it does not exist.
    Team,
    /// A team that is closed: it exists for those alone who may reopen it.
    Closed,
    /// A project, in the same way.
    Project,
    /// An event of a team, which exists only for those who may audit it.
    Event,
}

use About::{Closed, Credential, Event, Nothing, Person, Project, Sender, Team};

/// Method and path, the right, what it is about, and the query of a question.
pub(super) type Row = (&'static str, &'static str, About, &'static str);

const UPLOAD_COMPLETE: &str =
    "POST /v1/projects/{project}/environments/{environment}/deploys/{deploy}/upload-complete";
const DEPLOY_LOGS: &str = "GET /v1/projects/{project}/environments/{environment}/deploys/{build}/logs/stream";

/// Every route.
pub(super) const ROUTES: &[Row] = &[
    ("GET /api/health", "", Nothing, ""),
    ("GET /api/ready", "", Nothing, ""),
    ("GET /metrics", "", Nothing, ""),
    ("GET /openapi.json", "", Nothing, ""),
    ("GET /api/v1/auth/providers", "", Nothing, ""),
    ("GET /api/v1/auth/{provider}/authorize", "", Nothing, ""),
    ("GET /api/v1/auth/{provider}/callback", "", Nothing, ""),
    ("POST /api/v1/auth/login", "", Nothing, ""),
    ("POST /api/v1/auth/register", "", Nothing, ""),
    ("POST /api/v1/auth/setup", "", Nothing, ""),
    ("POST /api/webhooks/{provider}", "", Nothing, ""),
    ("POST /api/webhooks/github", "", Nothing, ""),
    ("POST /api/webhooks/git/{hook}", "", Nothing, ""),
    ("POST /api/v1/auth/logout", "", Person, ""),
    ("POST /api/v1/auth/password", "", Person, ""),
    ("GET /api/v1/auth/sessions", "", Person, ""),
    ("DELETE /api/v1/auth/sessions", "", Person, ""),
    ("DELETE /api/v1/auth/sessions/{session}", "", Person, ""),
    ("POST /api/v1/auth/totp", "", Person, ""),
    ("DELETE /api/v1/auth/totp", "", Person, ""),
    ("POST /api/v1/auth/totp/confirm", "", Person, ""),
    ("GET /api/v1/me", "", Person, ""),
    ("PATCH /api/v1/me", "", Person, ""),
    ("DELETE /api/v1/me", "", Person, ""),
    ("GET /api/v1/me/tokens", "", Person, ""),
    ("POST /api/v1/me/tokens", "", Person, ""),
    ("POST /api/v1/me/tokens/{token}/rotate", "", Person, ""),
    ("DELETE /api/v1/me/tokens/{token}", "", Person, ""),
    ("GET /api/v1/roles", "", Person, ""),
    ("POST /api/v1/permissions/check", "", Person, ""),
    ("POST /api/v1/invites/accept", "", Person, ""),
    ("GET /api/v1/teams", "", Person, ""),
    ("POST /api/v1/teams", "", Person, ""),
    ("GET /api/v1/events", "", Person, ""),
    ("GET /api/v1/events/stream", "", Person, ""),
    ("GET /api/v1/audit/checkpoint", "", Person, ""),
    ("GET /api/v1/audit/key", "", Person, ""),
    ("GET /api/v1/audit/proof/{position}", "audit:read", Event, ""),
    ("GET /api/v1/teams/{team}", "team:read", Team, ""),
    ("PATCH /api/v1/teams/{team}", "team:update", Team, ""),
    ("DELETE /api/v1/teams/{team}", "team:delete", Team, ""),
    ("POST /api/v1/teams/{team}/restore", "team:delete", Closed, ""),
    ("POST /api/v1/teams/{team}/transfer", "team:delete", Team, ""),
    ("GET /api/v1/teams/{team}/members", "team.members:read", Team, ""),
    ("PATCH /api/v1/teams/{team}/members/{user}", "team.members:update", Team, ""),
    ("DELETE /api/v1/teams/{team}/members/{user}", "team.members:delete", Team, ""),
    ("GET /api/v1/teams/{team}/invites", "team.invites:read", Team, ""),
    ("POST /api/v1/teams/{team}/invites", "team.invites:create", Team, ""),
    ("POST /api/v1/teams/{team}/invites/{invite}/resend", "team.invites:create", Team, ""),
    ("DELETE /api/v1/teams/{team}/invites/{invite}", "team.invites:delete", Team, ""),
    ("GET /api/v1/teams/{team}/roles", "team.members:read", Team, ""),
    ("POST /api/v1/teams/{team}/roles", "team.members:create", Team, ""),
    ("PATCH /api/v1/roles/{role}", "team.members:update", Team, ""),
    ("DELETE /api/v1/roles/{role}", "team.members:delete", Team, ""),
    ("GET /api/v1/role-assignments", "team.members:read", Team, "teamId={teamId}"),
    ("POST /api/v1/role-assignments", "team.members:create", Project, ""),
    ("DELETE /api/v1/role-assignments/{assignment}", "team.members:delete", Project, ""),
    ("GET /api/v1/users/{user}/permissions", "team.members:read", Team, "teamId={teamId}"),
    ("GET /api/v1/teams/{team}/access-review", "audit:read", Team, "resource=build&action=execute"),
    ("GET /api/v1/teams/{team}/audit", "audit:read", Team, ""),
    ("GET /api/v1/teams/{team}/audit/export", "audit:read", Team, ""),
    ("GET /api/v1/github/callback", "", Person, ""),
    ("GET /api/v1/teams/{team}/github/install-url", "team.installations:create", Team, ""),
    ("GET /api/v1/teams/{team}/installations", "team.installations:read", Team, ""),
    ("DELETE /api/v1/installations/{installation}", "team.installations:delete", Team, ""),
    ("GET /api/v1/teams/{team}/endpoints", "team.endpoints:read", Team, ""),
    ("POST /api/v1/teams/{team}/endpoints", "team.endpoints:create", Team, ""),
    ("GET /api/v1/endpoints/{endpoint}", "team.endpoints:read", Team, ""),
    ("PATCH /api/v1/endpoints/{endpoint}", "team.endpoints:update", Team, ""),
    ("DELETE /api/v1/endpoints/{endpoint}", "team.endpoints:delete", Team, ""),
    ("POST /api/v1/endpoints/{endpoint}/rotate", "team.endpoints:update", Team, ""),
    ("POST /api/v1/endpoints/{endpoint}/ping", "team.endpoints:update", Team, ""),
    ("POST /api/v1/endpoints/{endpoint}/replay", "team.endpoints:update", Team, ""),
    ("GET /api/v1/endpoints/{endpoint}/deliveries", "team.endpoints:read", Team, ""),
    ("GET /api/v1/endpoints/{endpoint}/deliveries/{message}", "team.endpoints:read", Team, ""),
    ("POST /api/v1/endpoints/{endpoint}/deliveries/{message}/redeliver", "team.endpoints:update", Team, ""),
    ("GET /api/v1/installations/{installation}/repositories", "team.installations:read", Team, ""),
    (
        "GET /api/v1/installations/{installation}/repositories/{owner}/{name}/branches",
        "team.installations:read",
        Team,
        "",
    ),
    (
        "GET /api/v1/installations/{installation}/repositories/{owner}/{name}/apps",
        "team.installations:read",
        Team,
        "",
    ),
    ("GET /api/v1/teams/{team}/deliveries", "build:read", Team, ""),
    ("GET /api/v1/teams/{team}/deliveries/{delivery}", "build:read", Team, ""),
    ("GET /api/v1/teams/{team}/projects", "project:read", Team, ""),
    ("POST /api/v1/teams/{team}/projects", "project:create", Team, ""),
    ("GET /api/v1/causation/{event}", "audit:read", Project, ""),
    ("GET /api/v1/projects/{project}", "project:read", Project, ""),
    ("PATCH /api/v1/projects/{project}", "project:update", Project, ""),
    ("DELETE /api/v1/projects/{project}", "project:delete", Project, ""),
    ("GET /api/v1/projects/{project}/retention", "project:read", Project, ""),
    ("PUT /api/v1/projects/{project}/retention", "project:update", Project, ""),
    ("GET /api/v1/projects/{project}/telemetry-quota", "project:read", Project, ""),
    ("PUT /api/v1/projects/{project}/telemetry-quota", "team.billing:update", Project, ""),
    ("GET /api/v1/projects/{project}/diff", "project:read", Project, "from={position}&to={position}"),
    ("GET /api/v1/projects/{project}/markers", "project:read", Project, ""),
    ("GET /api/v1/projects/{project}/environments", "project:read", Project, ""),
    ("POST /api/v1/projects/{project}/environments", "project:update", Project, ""),
    ("GET /api/v1/environments/{environment}", "project:read", Project, ""),
    ("PATCH /api/v1/environments/{environment}", "project:update", Project, ""),
    ("DELETE /api/v1/environments/{environment}", "project:update", Project, ""),
    ("POST /api/v1/environments/{environment}/approve", "project:update", Project, ""),
    ("GET /api/v1/projects/{project}/env-vars", "project.env_vars:read", Project, ""),
    ("PUT /api/v1/projects/{project}/env-vars/{key}", "project.env_vars:update", Project, ""),
    ("DELETE /api/v1/projects/{project}/env-vars/{key}", "project.env_vars:delete", Project, ""),
    ("GET /api/v1/projects/{project}/env-vars/history", "project.env_vars:read", Project, ""),
    ("POST /api/v1/projects/{project}/env-vars/import", "project.env_vars:update", Project, ""),
    ("GET /api/v1/projects/{project}/env-vars/export", "project.env_vars:read", Project, ""),
    ("POST /api/v1/environments/{environment}/env-vars/promote", "project.env_vars:update", Project, ""),
    ("GET /api/v1/environments/{environment}/env-vars/pending", "project.env_vars:read", Project, ""),
    ("GET /api/v1/deployments/{deployment}/env-vars", "project.env_vars:read", Project, ""),
    ("GET /api/v1/projects/{project}/repository", "project:read", Project, ""),
    ("PUT /api/v1/projects/{project}/repository/token", "project:update", Project, ""),
    ("DELETE /api/v1/projects/{project}/repository/token", "project:update", Project, ""),
    ("POST /api/v1/projects/{project}/repository/deploy-key", "project:update", Project, ""),
    ("DELETE /api/v1/projects/{project}/repository/deploy-key", "project:update", Project, ""),
    ("PUT /api/v1/projects/{project}/repository/host-keys", "project:update", Project, ""),
    ("POST /api/v1/projects/{project}/repository/host-keys/scan", "project:update", Project, ""),
    ("GET /api/v1/projects/{project}/push-hooks", "project.tokens:read", Project, ""),
    ("POST /api/v1/projects/{project}/push-hooks", "project.tokens:create", Project, ""),
    ("POST /api/v1/projects/{project}/push-hooks/{hook}/rotate", "project.tokens:update", Project, ""),
    ("DELETE /api/v1/projects/{project}/push-hooks/{hook}", "project.tokens:delete", Project, ""),
    ("GET /api/v1/projects/{project}/tokens", "project.tokens:read", Project, ""),
    ("POST /api/v1/projects/{project}/tokens", "project.tokens:create", Project, ""),
    ("POST /api/v1/projects/{project}/tokens/{token}/rotate", "project.tokens:update", Project, ""),
    ("DELETE /api/v1/projects/{project}/tokens/{token}", "project.tokens:delete", Project, ""),
    ("GET /api/v1/projects/{project}/builds", "build:read", Project, ""),
    ("POST /api/v1/projects/{project}/builds", "build:create", Project, ""),
    ("GET /api/v1/builds/{build}", "build:read", Project, ""),
    ("POST /api/v1/builds/{build}/cancel", "build:execute", Project, ""),
    ("GET /api/v1/builds/{build}/logs", "observability.logs:read", Project, ""),
    ("GET /api/v1/builds/{build}/logs/stream", "observability.logs:read", Project, ""),
    ("GET /api/v1/environments/{environment}/deployments", "build:read", Project, ""),
    ("POST /api/v1/environments/{environment}/deployments", "build:execute", Project, ""),
    ("POST /api/v1/environments/{environment}/rollback", "build:execute", Project, ""),
    ("GET /api/v1/deployments/{deployment}", "build:read", Project, ""),
    ("POST /api/v1/deployments/{deployment}/stop", "build:execute", Project, ""),
    ("POST /api/v1/deployments/{deployment}/restart", "build:execute", Project, ""),
    ("GET /api/v1/deployments/{deployment}/logs", "observability.logs:read", Project, ""),
    ("GET /api/v1/deployments/{deployment}/logs/stream", "observability.logs:read", Project, ""),
    ("GET /api/v1/deployments/{deployment}/health", "build:read", Project, ""),
    ("GET /v1/auth/verify", "", Credential, ""),
    ("GET /v1/auth/orgs", "", Credential, ""),
    ("GET /v1/projects", "", Credential, ""),
    ("GET /v1/server/projects", "", Credential, ""),
    ("GET /v1/studio/projects", "", Credential, ""),
    ("POST /v1/server/projects", "project:create", Team, ""),
    ("POST /v1/studio/projects", "project:create", Team, ""),
    ("GET /v1/server/projects/{project}/databases", "project:read", Project, ""),
    ("GET /v1/server/projects/{project}/env", "project.env_vars:read", Project, ""),
    ("PUT /v1/server/projects/{project}/env", "project.env_vars:update", Project, ""),
    ("GET /v1/projects/{project}/environments", "project:read", Project, ""),
    ("POST /v1/projects/{project}/environments", "project:update", Project, ""),
    ("DELETE /v1/projects/{project}/environments/{environment}", "project:update", Project, ""),
    ("POST /v1/projects/{project}/environments/{environment}/restart", "build:execute", Project, ""),
    ("GET /v1/projects/{project}/environment-deploys", "build:read", Project, ""),
    ("POST /v1/projects/{project}/environments/{environment}/deploy", "build:create", Project, ""),
    (UPLOAD_COMPLETE, "build:create", Project, ""),
    ("GET /v1/projects/{project}/environments/{environment}/deploys/{build}", "build:read", Project, ""),
    (DEPLOY_LOGS, "observability.logs:read", Project, ""),
    (
        "GET /v1/projects/{project}/environments/{environment}/deploys/{build}/diagnosis",
        "build:read",
        Project,
        "",
    ),
    ("GET /api/v1/projects/{project}/traces", "observability.traces:read", Project, ""),
    ("GET /api/v1/projects/{project}/traces/{trace}", "observability.traces:read", Project, ""),
    ("GET /api/v1/projects/{project}/errors", "observability.traces:read", Project, ""),
    ("GET /api/v1/projects/{project}/spans/export", "observability.traces:read", Project, ""),
    ("GET /api/v1/projects/{project}/logs/export", "observability.logs:read", Project, ""),
    ("GET /api/v1/projects/{project}/scores/export", "observability.traces:read", Project, ""),
    ("GET /api/v1/projects/{project}/usage-by-model", "observability.traces:read", Project, ""),
    ("GET /api/v1/projects/{project}/stats", "observability.traces:read", Project, ""),
    ("GET /api/v1/projects/{project}/logs", "observability.logs:read", Project, ""),
    ("GET /api/v1/traces/{trace}", "", Credential, ""),
    ("GET /api/v1/projects/{project}/logs/stream", "observability.logs:read", Project, ""),
    ("GET /api/v1/projects/{project}/metrics", "observability.metrics:read", Project, "name=x"),
    ("GET /api/v1/projects/{project}/metrics/names", "observability.metrics:read", Project, ""),
    ("GET /api/v1/projects/{project}/scores", "observability.traces:read", Project, ""),
    ("GET /api/v1/projects/{project}/cost-breakdown", "observability.traces:read", Project, ""),
    ("POST /api/v1/projects/{project}/scores", "", Sender, ""),
    ("POST /v1/traces", "", Sender, ""),
    ("POST /v1/metrics", "", Sender, ""),
    ("POST /v1/logs", "", Sender, ""),
    ("POST /projects/{project}/ai/spans/publish", "", Sender, ""),
    ("POST /projects/{project}/ai/logs/publish", "", Sender, ""),
    ("POST /projects/{project}/ai/metrics/publish", "", Sender, ""),
    ("POST /projects/{project}/ai/scores/publish", "", Sender, ""),
    ("POST /projects/{project}/ai/feedback/publish", "", Sender, ""),
];

/// Columns: team, members and invites, projects, env vars and tokens, builds, logs, audit, installations, endpoints.
/// Letters: create, read, update, delete, execute.
pub(super) const ROLES: [(&str, [&str; 9]); 7] = [
    ("owner", ["CRUD", "CRUD", "CRUD", "CRUD", "CRUDX", "R", "R", "CRUD", "CRUD"]),
    ("admin", ["RU", "CRUD", "CRUD", "CRUD", "CRUDX", "R", "R", "R", "CRUD"]),
    ("developer", ["R", "R", "CRU", "CRUD", "CRX", "R", "", "", ""]),
    ("viewer", ["R", "R", "R", "", "R", "R", "", "", ""]),
    ("project:admin", ["", "", "RUD", "CRUD", "CRUDX", "R", "R", "", ""]),
    ("project:deployer", ["", "", "R", "", "CRX", "R", "", "", ""]),
    ("project:viewer", ["", "", "R", "", "R", "R", "", "", ""]),
];

/// The same for project tokens by their scope.
pub(super) const TOKENS: [(&str, [&str; 9]); 4] = [
    ("read", ["", "", "R", "", "R", "", "", "", ""]),
    ("deploy", ["", "", "R", "", "CRX", "", "", "", ""]),
    ("telemetry:read", ["", "", "", "", "", "R", "", "", ""]),
    ("telemetry:write", ["", "", "", "", "", "", "", "", ""]),
];

/// Whether letters have a right.
fn has(letters: &[&str; 9], right: &str) -> bool {
    let (resource, action) = right.rsplit_once(':').unwrap();
    let column = match resource {
        "team" => 0,
        "team.members" | "team.invites" => 1,
        "project" => 2,
        "project.env_vars" | "project.tokens" => 3,
        "build" => 4,
        "observability.logs" | "observability.metrics" | "observability.traces" => 5,
        "audit" => 6,
        "team.billing" | "team.installations" => 7,
        "team.endpoints" => 8,
        other => panic!("no column for {other}"),
    };
    let letter = match action {
        "create" => 'C',
        "read" => 'R',
        "update" => 'U',
        "delete" => 'D',
        "execute" => 'X',
        other => panic!("no letter for {other}"),
    };
    letters[column].contains(letter)
}

/// The status for somebody with these letters in the team, or only in the project.
pub(super) fn status(letters: &[&str; 9], in_project_only: bool, right: &str, about: About) -> u16 {
    // A role or token of one project says nothing about the team.
    let reaches = about == Project || !in_project_only;
    let sees = match about {
        Project => has(letters, "project:read"),
        Team => reaches && has(letters, "team:read"),
        Nothing | Person | Credential | Sender | Event | Closed => false,
    };
    match (reaches && has(letters, right), sees) {
        (true, _) => 200,
        (false, true) => 403,
        (false, false) => 404,
    }
}
