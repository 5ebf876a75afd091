//! Pull requests that were opened, pushed to or closed while nobody listened.
//!
//! Those that are open are compared with what was told of them last, and previews with those that are open. When a
//! repository is looked at for the first time, what is open then is only noted, as branches are.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use domain::ids::DeliveryId;
use domain::ports::git_host::{GitHost, HostError, OpenPullRequest, Page, Received};
use domain::project::{Forks, Previews};
use domain::push::Nothing;
use domain::values::RepoUrl;
use projections::inbox::{self, Outcome};
use projections::projects::ProjectRow;
use uuid::Uuid;

use super::name_of;
use crate::repository::HOST;
use crate::{JobError, World};

/// As many pages of a hundred are read. Where more are open, none is taken for closed.
const PAGES: u32 = 10;
/// What was told is kept for so long: of what has not changed since, nobody can say whether it was told.
const KNOWN_FOR: TimeDelta = TimeDelta::days(29);

/// Compares the pull requests of a project; `previews` are the numbers of those that have one.
pub(super) async fn look(
    world: &World,
    project: &ProjectRow,
    teller: &Received,
    previews: &[u32],
) -> Result<(), JobError> {
    let wanted = project.settings.previews.as_ref();
    let (Some(host), Some(place), Some(installation)) =
        (world.host(HOST), project.settings.hosted(), teller.installation)
    else {
        return Ok(());
    };
    if wanted.is_none() && previews.is_empty() {
        return Ok(());
    }
    let desk = Desk { world, project, host, place, teller };
    let (open, is_all) = match desk.open(installation).await {
        Ok(open) => open,
        Err(HostError::Unavailable { why, .. }) => return Err(JobError::Retry(why)),
        Err(refused) => {
            tracing::debug!(project.id = %project.id, "pull requests are not shown: {refused}");
            return Ok(());
        }
    };
    if let Some(wanted) = wanted {
        desk.compare(&open, wanted).await?;
    }
    let numbers: BTreeSet<u32> = open.iter().map(|it| it.number).collect();
    for number in previews.iter().filter(|number| is_all && !numbers.contains(number)) {
        desk.close(*number).await?;
    }
    Ok(())
}

struct Desk<'a> {
    world: &'a World,
    project: &'a ProjectRow,
    host: &'a dyn GitHost,
    /// The repository at its host.
    place: (i64, &'a RepoUrl),
    teller: &'a Received,
}

impl Desk<'_> {
    /// Those that are open, and whether these are all.
    async fn open(&self, installation: i64) -> Result<(Vec<OpenPullRequest>, bool), HostError> {
        let mut open = Vec::new();
        for number in 1..=PAGES {
            let page = Page { number, size: 100 };
            let part = self.host.open_pull_requests(installation, self.place, page).await?;
            open.extend(part.items);
            if part.next.is_none() {
                return Ok((open, true));
            }
        }
        Ok((open, false))
    }

    async fn compare(&self, open: &[OpenPullRequest], wanted: &Previews) -> Result<(), JobError> {
        let (now, pool) = ((self.world.now)(), &self.world.pool);
        let note = Received { reference: Some(inbox::PULLS.to_owned()), ..self.told("found", 0, None) };
        let is_first = inbox::last_of(pool, self.host.id(), &note).await?.is_none();
        for it in open {
            if it.is_fork && wanted.forks == Forks::Never {
                continue;
            }
            let told = self.told("synchronize", it.number, Some(it.head.as_str()));
            match inbox::last_of(pool, self.host.id(), &told).await? {
                // One that is closed is opened again without another commit.
                Some(last)
                    if last.told.commit == told.commit && last.told.action.as_deref() != Some("closed") => {}
                Some(last) => self.find(told, &last.id.to_string()).await?,
                None if is_first || it.updated_at < now - KNOWN_FOR => self.note(told).await?,
                None => self.find(told, "nothing").await?,
            }
        }
        match is_first {
            true => self.note(note).await,
            false => Ok(()),
        }
    }

    /// One that has a preview and is not open any more.
    async fn close(&self, number: u32) -> Result<(), JobError> {
        let told = self.told("closed", number, None);
        match inbox::last_of(&self.world.pool, self.host.id(), &told).await? {
            Some(last) if last.told.action.as_deref() == Some("closed") => Ok(()),
            Some(last) => self.find(told, &last.id.to_string()).await,
            None => self.find(told, "nothing").await,
        }
    }

    fn told(&self, action: &str, number: u32, head: Option<&str>) -> Received {
        Received {
            kind: "pull_request".to_owned(),
            action: Some(action.to_owned()),
            repository_name: name_of(self.place.1),
            reference: Some(format!("refs/pull/{number}/head")),
            commit: head.map(str::to_owned),
            ..self.teller.clone()
        }
    }

    /// The same find is the same delivery, whoever makes it.
    fn named(&self, told: Received, after: &str) -> Received {
        let about = told.reference.as_deref().unwrap_or_default();
        let now = told.commit.as_deref().unwrap_or("closed");
        Received { id: format!("found/{}/{about}/{after}/{now}", self.place.0), ..told }
    }

    async fn find(&self, told: Received, after: &str) -> Result<(), JobError> {
        let (told, body) = (self.named(told.clone(), after), self.host.tell(&told));
        let id = DeliveryId(Uuid::now_v7());
        let is_new =
            inbox::store(&self.world.pool, id, self.host.id(), &told, &body, (self.world.now)()).await?;
        if is_new {
            let (project, about) = (self.project.id, told.reference.unwrap_or_default());
            tracing::info!(project.id = %project, "a change of {about} that nobody told of was found");
        }
        Ok(())
    }

    async fn note(&self, told: Received) -> Result<(), JobError> {
        let told = self.named(told, "nothing");
        let seen = Outcome::nothing(Some(self.project.team_id), Nothing::FirstSeen).of(self.project.id);
        let (id, now) = (DeliveryId(Uuid::now_v7()), (self.world.now)());
        Ok(inbox::note(&self.world.pool, id, self.host.id(), &told, &seen, now).await?)
    }
}
