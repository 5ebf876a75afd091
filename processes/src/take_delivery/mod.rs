//! A delivery of a git host's webhook → what it leads to, and a reason for each team that it concerns.
//!
//! No event asks for this work: the inbox stores the row with the delivery. What it leads to is done once, however
//! often it is tried: its commands have keys of the delivery.

mod changes;
mod pull_request;
mod push;

pub(crate) use push::followed;

use async_trait::async_trait;
use commands::{CommandError, Context, Receipt};
use domain::envelope::Actor;
use domain::fact::{Fact, Recorded};
use domain::ids::{DeliveryId, TeamId};
use domain::ports::git_host::HostNews;
use domain::push::Nothing;
use projections::inbox::{self, DeliveryRow, Outcome};
use projections::projects::ProjectRow;
use projections::teams::InstallationRow;
use serde::Deserialize;

use crate::{Job, JobError, Process, Work, World, chain};

/// Works on deliveries.
pub(crate) struct TakeDelivery;

#[derive(Deserialize)]
struct Payload {
    delivery_id: DeliveryId,
}

/// What a delivery is worked on with.
struct Desk<'a> {
    world: &'a World,
    delivery: DeliveryRow,
}

#[async_trait]
impl Process for TakeDelivery {
    fn name(&self) -> &'static str {
        inbox::PROCESS
    }

    fn concurrency(&self) -> usize {
        4
    }

    fn on(&self, _recorded: &Recorded, _fact: &Fact) -> Option<Job> {
        None
    }

    /// Six hours, after the first minutes every ten minutes: for so long a host may be away, or want to be left alone.
    fn tries(&self) -> i32 {
        44
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { delivery_id } = work.payload()?;
        let outcomes = match outcomes(world, delivery_id).await {
            Ok(Some(outcomes)) => outcomes,
            Ok(None) => return Ok(()),
            // The world has moved on meanwhile: that is the reason.
            Err(JobError::Lost(why) | JobError::Never(why)) => {
                vec![Outcome::nothing(None, Nothing::Failed).saying(why)]
            }
            Err(error) => return Err(error),
        };
        Ok(inbox::settle(&world.pool, delivery_id, &outcomes, (world.now)()).await?)
    }

    async fn give_up(&self, work: &Work, world: &World, why: &str) -> Result<(), JobError> {
        let Payload { delivery_id } = work.payload()?;
        let Some(delivery) = inbox::find(&world.pool, delivery_id).await? else { return Ok(()) };
        let failed = Desk { world, delivery }.for_teams(Nothing::Failed).await?;
        let failed: Vec<_> = failed.into_iter().map(|it| it.saying(why)).collect();
        Ok(inbox::settle(&world.pool, delivery_id, &failed, (world.now)()).await?)
    }
}

/// What comes of a delivery; nothing when that is known already.
async fn outcomes(world: &World, id: DeliveryId) -> Result<Option<Vec<Outcome>>, JobError> {
    let Some(delivery) = inbox::find(&world.pool, id).await? else { return Ok(None) };
    let Some(body) = inbox::body(&world.pool, id).await? else { return Ok(None) };
    let head = projections::log::head(&world.pool).await?;
    if !world.feed.wait_for(head, std::time::Duration::from_secs(10)).await {
        return Err(JobError::Retry("the query tables are behind".to_owned()));
    }
    let kind = &delivery.told.kind;
    let read = match (delivery.told.project, world.host(&delivery.source)) {
        (Some(_), _) => world.push_hooks.read(&delivery.source, kind, &body),
        (None, Some(host)) => host.read(kind, &body),
        (None, None) => return Err(JobError::Retry("the git host is not connected any more".to_owned())),
    };
    let desk = Desk { world, delivery };
    let news = match read {
        Ok(news) => news,
        Err(unreadable) => {
            let outcomes = desk.for_teams(Nothing::Unreadable).await?;
            return Ok(Some(outcomes.into_iter().map(|it| it.saying(unreadable.to_string())).collect()));
        }
    };
    desk.take_in(news).await.map(Some)
}

impl Desk<'_> {
    async fn take_in(&self, news: HostNews) -> Result<Vec<Outcome>, JobError> {
        match news {
            HostNews::Push(push) => self.push(&push).await,
            HostNews::Installation { id, change } => self.installation(id, change).await,
            HostNews::Repository { id, change } => self.repository(id, change).await,
            HostNews::PullRequest(news) => self.pull_request(&news).await,
            HostNews::Ping => self.for_teams(Nothing::Ping).await,
            HostNews::Other => self.for_teams(Nothing::NotOfInterest).await,
        }
    }

    /// The same for every team that the delivery's installation is connected to, or for the project whose webhook it is.
    async fn for_teams(&self, why: Nothing) -> Result<Vec<Outcome>, JobError> {
        if let Some(id) = self.delivery.told.project {
            let project = projections::projects::find(&self.world.pool, id).await?;
            let team = project.map(|project| project.team_id);
            return Ok(vec![Outcome::nothing(team, why).of(id)]);
        }
        let teams = teams_of(self.world, self.delivery.told.installation).await?;
        if teams.is_empty() {
            return Ok(vec![Outcome::nothing(None, why)]);
        }
        Ok(teams.iter().map(|team| Outcome::nothing(Some(team.team_id), why)).collect())
    }

    /// For the teams of the delivery's installation that have none of these projects.
    async fn unconnected(&self, projects: &[ProjectRow]) -> Result<Vec<Outcome>, JobError> {
        let teams = teams_of(self.world, self.delivery.told.installation).await?.into_iter();
        let without = teams.filter(|team| !projects.iter().any(|project| project.team_id == team.team_id));
        let nothing =
            |team: InstallationRow| Outcome::nothing(Some(team.team_id), Nothing::RepositoryNotConnected);
        Ok(without.map(nothing).collect())
    }

    /// The circumstances of a command: whoever did it at the host wants it, and the delivery is the first cause.
    fn context(&self, team: TeamId) -> Context {
        let is_login = |login: &&String| {
            (1..=100).contains(&login.len())
                && login.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_[].".contains(&byte))
        };
        let actor = match self.delivery.told.sender.as_ref().filter(is_login) {
            Some(login) if self.delivery.source == "github" => Actor::Github(login.clone()),
            _ => Actor::Process(inbox::PROCESS.to_owned()),
        };
        let bare = Context::bare(actor, self.delivery.id.to_string(), (self.world.now)());
        Context { team_id: Some(team), ..bare }
    }
}

async fn teams_of(world: &World, installation: Option<i64>) -> Result<Vec<InstallationRow>, JobError> {
    match installation {
        Some(id) => Ok(projections::teams::installations_at(&world.pool, id).await?),
        None => Ok(vec![]),
    }
}

/// A command that was carried out, or why it was refused.
fn carried_out<E>(answer: Result<Receipt, CommandError<E>>) -> Result<Result<Receipt, String>, JobError>
where
    E: std::error::Error + 'static,
{
    match answer {
        Ok(receipt) => Ok(Ok(receipt)),
        Err(CommandError::Refused(refusal)) => Ok(Err(refusal.to_string())),
        Err(other) => Err(JobError::Retry(chain(&other))),
    }
}
