//! `team.member_invited` or `team.invite_resent` → a mail with the invite's secret.

use async_trait::async_trait;
use commands::VaultError;
use domain::fact::{Fact, Recorded};
use domain::ids::InviteId;
use domain::sealed::{Sealed, purpose};
use domain::team::TeamEvent;
use projections::teams::InviteRow;
use serde::{Deserialize, Serialize};

use crate::letter::{Letter, MAIL_TRIES};
use crate::{Due, Job, JobError, Process, Work, World};

/// Sends invites.
pub(crate) struct DeliverInvite;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payload {
    invite_id: InviteId,
    team_id: domain::ids::TeamId,
    token: Sealed,
}

#[async_trait]
impl Process for DeliverInvite {
    fn name(&self) -> &'static str {
        "deliver_invite"
    }

    fn concurrency(&self) -> usize {
        2
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Team(
            team_id,
            TeamEvent::TeamMemberInvited { invite_id, token, .. }
            | TeamEvent::TeamInviteResent { invite_id, token, .. },
        ) = fact
        else {
            return None;
        };
        let key = match fact {
            Fact::Team(_, TeamEvent::TeamMemberInvited { .. }) => invite_id.to_string(),
            _ => format!("{invite_id}/{}", recorded.position),
        };
        let payload = Payload { invite_id: *invite_id, team_id: *team_id, token: token.clone() };
        Some(Job {
            key,
            lane: format!("deliver_invite:{invite_id}"),
            payload: serde_json::to_value(payload).expect("it serialises"),
            due: Due::AtOnce,
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { invite_id, team_id, token } = work.payload()?;
        world.caught_up(work).await?;
        let Some(team) = projections::teams::find(&world.pool, team_id).await? else {
            return Err(JobError::Lost("the team is gone".to_owned()));
        };
        let open = |invite: &InviteRow| invite.status == "pending";
        let Some(invite) = projections::teams::invite(&world.pool, invite_id).await?.filter(open) else {
            return Err(JobError::Lost("the invite is over".to_owned()));
        };
        let vault = world.commands.vault();
        let to = match vault.open_sealed(&invite.email, purpose::INVITE_EMAIL).await {
            Err(VaultError::Erased) => return Ok(()), // there is nobody to write to any more
            to => to?.expose_str().unwrap_or_default().to_owned(),
        };
        let token = vault.open_text(&token, purpose::INVITE_TOKEN).await?;
        let letter = Letter::new(format!("You are invited to the team {}", team.name))
            .say(format!("You are invited to the team {} on {}.", team.name, world.public_url))
            .say(format!("Your invite: {token}"))
            .say(format!(
                "Signed in, accept it with POST {url}/api/v1/invites/accept and the body {{\"token\": \"…\"}};\n\
                 without an account, make one with POST {url}/api/v1/auth/register.",
                url = world.public_url,
            ))
            .say("If you did not expect this, do nothing: the invite expires by itself.");
        Ok(world.email.send(&letter.to(to, work, &format!("invite-{invite_id}"))).await?)
    }

    fn tries(&self) -> i32 {
        MAIL_TRIES
    }
}
