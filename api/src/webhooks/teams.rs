//! Organizations that a sign-in provider keeps: each is a team here.

use commands::told::is_gone;
use commands::{CommandError, Expected};
use domain::claim::ClaimScope;
use domain::ids::{TeamId, UserId};
use domain::ports::news::Organization;
use domain::team::{MemberRole, Team, TeamCommand, TeamError};
use domain::user::User;
use domain::values::{DisplayName, Slug};
use uuid::Uuid;

use super::{Desk, Done, not_yet};
use crate::error::ApiError;

/// Ids of teams are made of it and of what the provider calls them: the same team for every delivery, on any server.
const TEAMS: Uuid = Uuid::from_u128(0x6f5f_1f0e_6b0e_4c1a_9d53_7a0c_51f2_9b1d);

impl Desk<'_> {
    fn team_of(&self, organization: &str) -> TeamId {
        Uuid::new_v5(&TEAMS, format!("{} {organization}", self.provider.issuer()).as_bytes()).into()
    }

    pub(super) async fn organization(&self, it: &Organization) -> Result<Done, ApiError> {
        let id = self.team_of(&it.id);
        if self.exists(id).await? {
            return self.rename_team(id, it).await;
        }
        let Some(subject) = &it.created_by else { return Ok(Done::Nothing("waits_for_its_first_admin")) };
        match self.user_of(subject).await? {
            Some(owner) if !self.is_disabled(owner).await? => self.make(id, it, owner).await,
            _ => Ok(Done::Nothing("waits_for_its_first_admin")),
        }
    }

    /// The slug stays when another team has the new one.
    async fn rename_team(&self, id: TeamId, it: &Organization) -> Result<Done, ApiError> {
        let (name, slug) = names(it);
        let context = self.context(Some(id));
        let before = self.platform.commands.load::<Team>(id).await?.version;
        let slug = it.slug.as_ref().map(|_| slug);
        let rename = |slug: Option<Slug>| TeamCommand::RenameTeam { name: Some(name.clone()), slug };
        let mut renamed = self.platform.commands.team(id, rename(slug), &context).await;
        if let Err(CommandError::NameTaken { .. }) = renamed {
            renamed = self.platform.commands.team(id, rename(None), &context).await;
        }
        match renamed {
            Ok(receipt) if receipt.version > before => Ok(Done::Changed),
            Ok(_) => Ok(Done::Nothing("known")),
            Err(CommandError::Refused(TeamError::Unknown)) => Ok(Done::Nothing("gone")),
            Err(error) => Err(error.into()),
        }
    }

    async fn make(&self, id: TeamId, it: &Organization, owner: UserId) -> Result<Done, ApiError> {
        let (name, slug) = names(it);
        let context = commands::Context { expected: Expected::New, ..self.context(Some(id)) };
        let create = |slug: Slug| TeamCommand::CreateTeam { name: name.clone(), slug, owner };
        let mut made = self.platform.commands.team(id, create(slug.clone()), &context).await;
        if let Err(CommandError::NameTaken { scope: ClaimScope::TeamSlug, .. }) = made {
            made = self.platform.commands.team(id, create(other(&slug, id)), &context).await;
        }
        match made {
            Ok(_) => Ok(Done::Changed),
            // Another delivery was faster.
            Err(CommandError::Conflict { .. } | CommandError::Refused(TeamError::Exists)) => {
                Ok(Done::Nothing("known"))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn organization_gone(&self, id: &str) -> Result<Done, ApiError> {
        let id = self.team_of(id);
        // As a person would: what a provider deletes by mistake is not lost here.
        let close = TeamCommand::CloseTeam { at: self.caller.at() };
        match self.platform.commands.team(id, close, &self.context(Some(id))).await {
            Ok(_) => Ok(Done::Changed),
            Err(CommandError::Refused(TeamError::Unknown)) => Ok(Done::Nothing("unknown")),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn member(
        &self,
        subject: &str,
        organization: &Organization,
        role: MemberRole,
    ) -> Result<Done, ApiError> {
        let (pool, issuer) = (&self.platform.pool, self.provider.issuer());
        let Some(user) = self.user_of(subject).await? else {
            return match is_gone(pool, issuer, &format!("user/{subject}")).await? {
                Some(_) => Ok(Done::Nothing("not_admitted")),
                None => Err(not_yet("person")),
            };
        };
        if self.is_disabled(user).await? {
            return Ok(Done::Nothing("gone"));
        }
        let id = self.team_of(&organization.id);
        if !self.exists(id).await? {
            if is_gone(pool, issuer, &format!("organization/{}", organization.id)).await? == Some(true) {
                return Ok(Done::Nothing("gone"));
            }
            if role != MemberRole::Admin {
                return Err(not_yet("organization"));
            }
            // Somebody has to own it: he, unless another delivery is faster.
            if let Done::Changed = self.make(id, organization, user).await? {
                return Ok(Done::Changed);
            }
        }
        let context = self.context(Some(id));
        let before = self.platform.commands.load::<Team>(id).await?.version;
        let add = TeamCommand::AddMember { user_id: user, role };
        let mut done = self.platform.commands.team(id, add, &context).await;
        if done.as_ref().is_ok_and(|receipt| receipt.version == before) {
            // As an admin would: owners are no business of the provider's.
            let change = TeamCommand::ChangeMemberRole { user_id: user, role, by: MemberRole::Admin };
            done = self.platform.commands.team(id, change, &context).await;
        }
        match done {
            Ok(receipt) if receipt.version > before => Ok(Done::Changed),
            Ok(_) => Ok(Done::Nothing("known")),
            Err(CommandError::Refused(TeamError::OwnersOnly)) => Ok(Done::Nothing("owner")),
            Err(CommandError::Refused(TeamError::Unknown | TeamError::UnknownMember)) => {
                Ok(Done::Nothing("gone"))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn is_disabled(&self, user: UserId) -> Result<bool, ApiError> {
        Ok(self.platform.commands.load::<User>(user).await?.aggregate.is_disabled())
    }

    pub(super) async fn member_gone(&self, subject: &str, organization: &str) -> Result<Done, ApiError> {
        let id = self.team_of(organization);
        match self.user_of(subject).await? {
            Some(user) => self.remove(id, user).await,
            None => Ok(Done::Nothing("unknown")),
        }
    }

    /// Ends a membership, unless nobody would own the team then.
    pub(super) async fn remove(&self, id: TeamId, user_id: UserId) -> Result<Done, ApiError> {
        let command = TeamCommand::RemoveMember { user_id, by: MemberRole::Owner };
        match self.platform.commands.team(id, command, &self.context(Some(id))).await {
            Ok(_) => Ok(Done::Changed),
            Err(CommandError::Refused(TeamError::Unknown | TeamError::UnknownMember)) => {
                Ok(Done::Nothing("unknown"))
            }
            Err(CommandError::Refused(TeamError::LastOwner)) => {
                tracing::warn!(team = %id, user = %user_id, "the provider removes the last owner, who stays");
                Ok(Done::Nothing("last_owner"))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn exists(&self, id: TeamId) -> Result<bool, ApiError> {
        Ok(self.platform.commands.load::<Team>(id).await?.version > 0)
    }
}

/// Name and slug as we can have them.
fn names(it: &Organization) -> (DisplayName, Slug) {
    let name = it.name.trim().chars().filter(|c| !c.is_control()).take(100).collect::<String>();
    let name = name.parse().unwrap_or_else(|_| "Organization".parse().expect("a name"));
    let slug = it.slug.as_deref().and_then(|slug| slug.parse().ok()).or_else(|| Slug::from_name(&it.name));
    (name, slug.unwrap_or_else(|| "organization".parse().expect("a slug")))
}

/// A slug like one that is taken.
fn other(slug: &Slug, id: TeamId) -> Slug {
    let (slug, id) = (slug.as_str(), id.0.simple().to_string());
    let short = slug[..slug.len().min(50)].trim_end_matches('-');
    format!("{short}-{}", &id[..8]).parse().expect("letters, digits and single dashes")
}
