//! What an event tells: about what, how it ended, what was before and what is after.
//!
//! Some events say themselves what was before (`old`, `old_…`). For the others the read model keeps what it has shown
//! last, of each part of each thing. Of sealed values only their fingerprints are shown, of secrets' hashes nothing.

use domain::access::AccessEvent;
use domain::build::BuildEvent;
use domain::deployment::DeploymentEvent;
use domain::endpoint::EndpointEvent;
use domain::fact::Fact;
use domain::ids::ProjectId;
use domain::policy::Scope;
use domain::project::ProjectEvent;
use domain::role_assignment::RoleAssignmentEvent;
use domain::team::TeamEvent;
use domain::user::UserEvent;
use serde_json::{Map, Value, json};

/// Fields of a document.
pub(super) type Fields = Map<String, Value>;

/// What becomes of a part of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is this from now on.
    Set,
    /// These of its fields are others.
    Merge,
    /// It is over, and the event says more about that.
    End,
    /// It is gone.
    Remove,
}

/// What an event says was before, and is after.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) before: Fields,
    pub(super) after: Fields,
}

/// The part of its aggregate that an event changes without saying what it was before.
pub(super) fn part(fact: &Fact) -> Option<(String, Change)> {
    use Change::{End, Merge, Remove, Set};
    let (name, change) = match fact {
        Fact::User(_, event) => match event {
            UserEvent::UserRegistered { .. } => ("profile".to_owned(), Set),
            UserEvent::UserProfileChanged { .. } => ("profile".to_owned(), Merge),
            UserEvent::UserActiveTeamSwitched { .. } => ("active_team".to_owned(), Set),
            UserEvent::UserActiveProjectSwitched { .. } => ("active_project".to_owned(), Set),
            UserEvent::UserErased { .. } => ("profile".to_owned(), End),
            UserEvent::UserPasswordChanged {}
            | UserEvent::UserDisabled { .. }
            | UserEvent::UserSecondFactorEnabled {}
            | UserEvent::UserSecondFactorDisabled {}
            | UserEvent::UserRecoveryCodeUsed { .. } => return None,
            UserEvent::UserSignedIn { session_id, .. } => (format!("session/{session_id}"), Set),
            UserEvent::UserSignedOut { session_id } => (format!("session/{session_id}"), Remove),
            UserEvent::UserTokenCreated { token_id, .. } => (format!("token/{token_id}"), Set),
            UserEvent::UserTokenRotated { token_id, .. } => (format!("token/{token_id}"), Merge),
            UserEvent::UserTokenRevoked { token_id } => (format!("token/{token_id}"), Remove),
        },
        Fact::Team(_, event) => return part_of_team(event),
        Fact::Project(_, event) => match event {
            ProjectEvent::ProjectCreated { .. } | ProjectEvent::ProjectSettingsChanged { .. } => {
                ("settings".to_owned(), Set)
            }
            ProjectEvent::ProjectDeleted { .. } => ("settings".to_owned(), Remove),
            ProjectEvent::ProjectEnvironmentCreated { environment }
            | ProjectEvent::ProjectEnvironmentChanged { environment, .. } => {
                (format!("environment/{}", environment.id), Set)
            }
            ProjectEvent::ProjectEnvironmentDeleted { environment_id, .. } => {
                (format!("environment/{environment_id}"), Remove)
            }
            ProjectEvent::ProjectPreviewApproved { .. } => return None,
            ProjectEvent::ProjectTokenCreated { token_id, .. } => (format!("token/{token_id}"), Set),
            ProjectEvent::ProjectTokenRotated { token_id, .. } => (format!("token/{token_id}"), Merge),
            ProjectEvent::ProjectTokenRevoked { token_id } => (format!("token/{token_id}"), Remove),
            ProjectEvent::ProjectPushHookCreated { hook_id, .. } => (format!("push_hook/{hook_id}"), Set),
            ProjectEvent::ProjectPushHookRotated { hook_id, .. } => (format!("push_hook/{hook_id}"), Merge),
            ProjectEvent::ProjectPushHookDeleted { hook_id } => (format!("push_hook/{hook_id}"), Remove),
            // They say themselves what was before.
            ProjectEvent::ProjectRepositoryTokenSet { .. }
            | ProjectEvent::ProjectRepositoryTokenRemoved { .. }
            | ProjectEvent::ProjectDeployKeyMade { .. }
            | ProjectEvent::ProjectDeployKeyRemoved { .. }
            | ProjectEvent::ProjectHostKeysPinned { .. } => return None,
            ProjectEvent::ProjectEnvVarSet { .. }
            | ProjectEvent::ProjectEnvVarDeleted { .. }
            | ProjectEvent::ProjectEnvVarsRevealed { .. } => return None,
        },
        Fact::Build(..) | Fact::Deployment(..) => ("run".to_owned(), Merge),
        Fact::Endpoint(_, event) => match event {
            EndpointEvent::EndpointCreated { .. }
            | EndpointEvent::EndpointChanged { .. }
            | EndpointEvent::EndpointSecretRotated { .. }
            | EndpointEvent::EndpointEnabled {}
            | EndpointEvent::EndpointDisabled { .. } => ("settings".to_owned(), Merge),
            EndpointEvent::EndpointDeleted {} => ("settings".to_owned(), Remove),
            EndpointEvent::EndpointPinged {}
            | EndpointEvent::EndpointRedeliveryRequested { .. }
            | EndpointEvent::EndpointReplayRequested { .. } => return None,
        },
        Fact::RoleAssignment(_, RoleAssignmentEvent::RoleUnassigned { .. }) => (String::new(), Remove),
        Fact::RoleAssignment(_, RoleAssignmentEvent::RoleAssigned { .. })
        | Fact::Role(..)
        | Fact::Access(..)
        | Fact::Operation(..) => return None,
    };
    Some((name, change))
}

fn part_of_team(event: &TeamEvent) -> Option<(String, Change)> {
    use Change::{End, Merge, Remove, Set};
    Some(match event {
        TeamEvent::TeamCreated { .. } | TeamEvent::TeamRenamed { .. } => ("names".to_owned(), Merge),
        TeamEvent::TeamClosed { .. } => ("closing".to_owned(), Set),
        TeamEvent::TeamReopened {} => ("closing".to_owned(), Remove),
        TeamEvent::TeamDeleted { .. } => ("names".to_owned(), Remove),
        TeamEvent::TeamMemberAdded { .. } | TeamEvent::TeamMemberRoleChanged { .. } => return None,
        TeamEvent::TeamMemberRemoved { user_id, .. } => (format!("member/{user_id}"), Remove),
        TeamEvent::TeamMemberInvited { invite_id, .. } => (format!("invite/{invite_id}"), Set),
        TeamEvent::TeamInviteResent { invite_id, .. } => (format!("invite/{invite_id}"), Merge),
        TeamEvent::TeamInviteAccepted { invite_id, .. } => (format!("invite/{invite_id}"), End),
        TeamEvent::TeamInviteRevoked { invite_id, .. } | TeamEvent::TeamInviteExpired { invite_id, .. } => {
            (format!("invite/{invite_id}"), Remove)
        }
        TeamEvent::TeamInstallationConnected { installation_id, .. } => {
            (format!("installation/{installation_id}"), Set)
        }
        TeamEvent::TeamInstallationStatusChanged { installation_id, .. } => {
            (format!("installation/{installation_id}"), Merge)
        }
        TeamEvent::TeamInstallationRemoved { installation_id } => {
            (format!("installation/{installation_id}"), Remove)
        }
    })
}

/// What the event says itself.
pub(super) fn told(fact: &Fact, payload: Value) -> Told {
    let mut told = Told::default();
    let Value::Object(fields) = payload else { return told };
    for (key, value) in fields {
        match key.as_str() {
            "type" | "hash" | "token_hash" | "token" => {}
            // Of a person: shown only where nothing else tells tries apart.
            "email_hash" if !matches!(fact, Fact::Access(..)) => {}
            "old" => flatten(&mut told.before, &key, shown(value)),
            "settings" | "environment" | "definition" => flatten(&mut told.after, &key, shown(value)),
            _ => match key.strip_prefix("old_") {
                Some(name) => drop(told.before.insert(name.to_owned(), shown(value))),
                None => drop(told.after.insert(key, shown(value))),
            },
        }
    }
    if let Some(status) = status(fact) {
        told.after.insert("status".to_owned(), status.into());
    }
    told
}

/// What it was and what it is, from what the event says and what was known of the part before.
pub(super) fn before_and_after(
    told: Told,
    change: Option<Change>,
    known: &Fields,
) -> (Option<Value>, Option<Value>) {
    let Told { mut before, after } = told;
    let document = |fields: Fields| (!fields.is_empty()).then_some(Value::Object(fields));
    match change {
        None => {}
        Some(Change::Set) if !before.is_empty() => {}
        Some(Change::Set | Change::End) => before = known.clone(),
        Some(Change::Merge) => {
            for (key, value) in known.iter().filter(|(key, _)| after.contains_key(*key)) {
                before.entry(key).or_insert_with(|| value.clone());
            }
        }
        Some(Change::Remove) => {
            let mut last = known.clone();
            last.extend(after);
            return (document(last), None);
        }
    }
    (document(before), document(after))
}

/// What is to be known of the part from now on; nothing when it is over.
pub(super) fn kept(fact: &Fact, change: Change, known: Fields, after: &Fields) -> Option<Fields> {
    let mut kept = match change {
        Change::Set => Fields::new(),
        Change::Merge => known,
        Change::End | Change::Remove => return None,
    };
    match fact {
        // Frozen variables and artifacts are large and never change.
        Fact::Build(..) | Fact::Deployment(..) => {
            let few = after.iter().filter(|(key, _)| matches!(key.as_str(), "status" | "project_id"));
            kept.extend(few.map(|(key, value)| (key.clone(), value.clone())));
        }
        _ => kept.extend(after.clone()),
    }
    Some(kept)
}

/// The project that an event belongs to.
pub(super) fn project(fact: &Fact, known: &Fields) -> Option<ProjectId> {
    match fact {
        Fact::Project(id, _) => Some(*id),
        Fact::Build(_, BuildEvent::BuildRequested { project_id, .. })
        | Fact::Deployment(_, DeploymentEvent::DeploymentRequested { project_id, .. }) => Some(*project_id),
        Fact::Build(..) | Fact::Deployment(..) => known.get("project_id")?.as_str()?.parse().ok(),
        Fact::RoleAssignment(
            _,
            RoleAssignmentEvent::RoleAssigned { scope, .. }
            | RoleAssignmentEvent::RoleUnassigned { scope, .. },
        ) => match scope {
            Scope::Project { project_id } => Some(*project_id),
            Scope::Global | Scope::Team { .. } => None,
        },
        Fact::Access(_, event) => match event {
            AccessEvent::AccessCommandDenied { project_id, .. }
            | AccessEvent::AccessAuditExported { project_id, .. } => *project_id,
            AccessEvent::AccessTelemetryExported { project_id, .. }
            | AccessEvent::AccessSecretsExported { project_id, .. } => Some(*project_id),
            _ => None,
        },
        Fact::User(..) | Fact::Team(..) | Fact::Role(..) | Fact::Operation(..) | Fact::Endpoint(..) => None,
    }
}

/// What an event is about when that is not its own aggregate: kind and id.
pub(super) fn about(fact: &Fact) -> Option<(&str, String)> {
    let Fact::Access(_, event) = fact else { return None };
    match event {
        AccessEvent::AccessCommandDenied { target: Some(target), .. } => {
            Some((&target.kind, target.id.to_string()))
        }
        AccessEvent::AccessSignInFailed { user_id: Some(user), .. } => Some(("user", user.to_string())),
        AccessEvent::AccessAuditExported { team_id, .. } => Some(("team", team_id.to_string())),
        AccessEvent::AccessTelemetryExported { project_id, .. }
        | AccessEvent::AccessSecretsExported { project_id, .. } => Some(("project", project_id.to_string())),
        _ => None,
    }
}

/// How it ended: what stands in the log as a fact did happen, and for some that is that it failed.
pub(super) fn outcome(fact: &Fact) -> &'static str {
    let event = match fact {
        Fact::Access(_, event) => event,
        Fact::Build(_, BuildEvent::BuildFailed { .. })
        | Fact::Deployment(
            _,
            DeploymentEvent::DeploymentFailed { .. } | DeploymentEvent::DeploymentRolledBack { .. },
        ) => return "failed",
        _ => return "success",
    };
    match event {
        AccessEvent::AccessCommandDenied { .. } | AccessEvent::AccessSuppressed { .. } => "denied",
        AccessEvent::AccessSignInFailed { .. } | AccessEvent::AccessSignatureRefused { .. } => "failed",
        AccessEvent::AccessAuditExported { .. }
        | AccessEvent::AccessTelemetryExported { .. }
        | AccessEvent::AccessSecretsExported { .. } => "success",
    }
}

/// The status that an event leads to, where it does not say so itself.
fn status(fact: &Fact) -> Option<&'static str> {
    Some(match fact {
        Fact::Build(_, event) => match event {
            BuildEvent::BuildRequested { .. } => "queued",
            BuildEvent::BuildStarted { .. } => "building",
            BuildEvent::BuildSucceeded { .. } => "ready",
            BuildEvent::BuildFailed { .. } => "failed",
            BuildEvent::BuildRequeued { .. } => "queued",
            BuildEvent::BuildSuperseded { .. } | BuildEvent::BuildCancelled {} => "cancelled",
            _ => return None,
        },
        Fact::Deployment(_, event) => match event {
            DeploymentEvent::DeploymentRequested { .. } => "pending",
            DeploymentEvent::DeploymentStarting { .. } => "starting",
            DeploymentEvent::DeploymentActivated { .. } => "running",
            DeploymentEvent::DeploymentSlept {} => "sleeping",
            DeploymentEvent::DeploymentCrashed { .. } => "crashed",
            DeploymentEvent::DeploymentFailed { .. } => "failed",
            DeploymentEvent::DeploymentRolledBack { .. } => "rolled_back",
            DeploymentEvent::DeploymentSuperseded { .. } => "superseded",
            DeploymentEvent::DeploymentStopped {} => "stopped",
            DeploymentEvent::DeploymentReplicasChanged { .. } => return None,
        },
        Fact::Team(_, TeamEvent::TeamInstallationConnected { .. }) => "active",
        Fact::Endpoint(_, EndpointEvent::EndpointCreated { .. } | EndpointEvent::EndpointEnabled {}) => {
            "enabled"
        }
        Fact::Endpoint(_, EndpointEvent::EndpointDisabled { .. }) => "disabled",
        _ => return None,
    })
}

fn flatten(into: &mut Fields, key: &str, value: Value) {
    match value {
        Value::Object(fields) => into.extend(fields),
        other => drop(into.insert(key.to_owned(), other)),
    }
}

/// A value as people see it. A variable without its value, as events keep it, looks like one with its value.
fn shown(value: Value) -> Value {
    match value {
        Value::Object(mut fields) if fields.contains_key("mark") && fields.contains_key("data") => {
            json!({ "fingerprint": fields.remove("mark") })
        }
        Value::Object(fields) => {
            let is_variable = fields.contains_key("mark") && fields.contains_key("value_id");
            let mut all = Fields::new();
            for (key, value) in fields {
                match key.as_str() {
                    "mark" if is_variable => {
                        all.insert("value".to_owned(), json!({ "fingerprint": value }));
                    }
                    "value_id" if is_variable => {}
                    _ => drop(all.insert(key, shown(value))),
                }
            }
            Value::Object(all)
        }
        Value::Array(values) => values.into_iter().map(shown).collect(),
        other => other,
    }
}
