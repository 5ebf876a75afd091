//! Commands to several aggregates, or several to one, that are carried out all or none: one append.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};

use cqrs_es::Aggregate;
use domain::build::{Build, BuildCommand, BuildError};
use domain::deployment::{Deployment, DeploymentCommand, DeploymentError};
use domain::fact::Stored;
use domain::ids::{AssignmentId, BuildId, DeploymentId, ProjectId, RoleId, TeamId, UserId};
use domain::project::{Project, ProjectCommand, ProjectError};
use domain::role::{Role, RoleCommand, RoleError};
use domain::role_assignment::{RoleAssignment, RoleAssignmentCommand, RoleAssignmentError};
use domain::team::{Team, TeamCommand, TeamError};
use domain::user::{User, UserCommand, UserError};
use thiserror::Error;

use crate::store::{Change, Loaded};
use crate::{
    Answer, CommandError, Commands, Context, Expected, Mode, Preview, Receipt, TRIES, conflict, decide,
    jitter,
};

/// One command of several.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each variant is a command to the aggregate of its name")]
pub enum Step {
    User(UserId, UserCommand),
    Team(TeamId, TeamCommand),
    Project(ProjectId, ProjectCommand),
    Build(BuildId, BuildCommand),
    Deployment(DeploymentId, DeploymentCommand),
    Role(RoleId, RoleCommand),
    RoleAssignment(AssignmentId, RoleAssignmentCommand),
}

/// Why one of several commands was refused.
#[derive(Clone, Debug, PartialEq, Error)]
#[error(transparent)]
#[expect(missing_docs, reason = "each variant is the error of the aggregate of its name")]
pub enum StepError {
    User(#[from] UserError),
    Team(#[from] TeamError),
    Project(#[from] ProjectError),
    Build(#[from] BuildError),
    Deployment(#[from] DeploymentError),
    Role(#[from] RoleError),
    RoleAssignment(#[from] RoleAssignmentError),
}

/// What the steps so far have made of the aggregates, and what is to be appended.
#[derive(Default)]
struct Draft {
    aggregates: HashMap<(&'static str, String), Box<dyn Any + Send + Sync>>,
    changes: Vec<Change>,
    previews: Vec<Preview>,
    last: Option<Receipt>,
}

impl Commands {
    /// Carries out all of the steps or none. A step sees what those before it have made true. The receipt is that of
    /// the last event; `expected` is asked of the first step's aggregate.
    pub async fn together(&self, steps: &[Step], context: &Context) -> Answer<StepError> {
        // In one order for everybody, so that nobody waits in a circle.
        let keys: BTreeSet<(&'static str, String)> = steps.iter().map(Step::key).collect();
        let mut turns = Vec::with_capacity(keys.len());
        for (aggregate_type, id) in keys {
            turns.push(self.store.turn(aggregate_type, &id).await);
        }
        if let Some(key) = context.key.as_ref().filter(|_| context.mode == Mode::Append)
            && let Some(receipt) = self.store.find_receipt(key).await?
        {
            return Ok(receipt);
        }
        let mut tries = 0;
        loop {
            let answer = self.together_once(steps, context).await;
            tries += 1;
            match answer {
                Err(CommandError::Conflict { .. }) if context.expected == Expected::Any && tries < TRIES => {
                    conflict("several");
                    tokio::time::sleep(jitter(tries)).await;
                }
                Err(CommandError::Conflict { expected, actual, .. }) if !steps.is_empty() => {
                    let (aggregate_type, id) = steps[0].key();
                    let since = self.store.since(aggregate_type, &id, expected).await?;
                    return Err(CommandError::Conflict { expected, actual, since });
                }
                answer => return answer,
            }
        }
    }

    async fn together_once(&self, steps: &[Step], context: &Context) -> Answer<StepError> {
        let mut draft = Draft::default();
        for (n, step) in steps.iter().cloned().enumerate() {
            let expected = if n == 0 { context.expected } else { Expected::Any };
            let context = Context { expected, ..context.clone() };
            match step {
                Step::User(id, c) => self.step::<User>(&mut draft, id, c.name(), c, &context).await,
                Step::Team(id, c) => self.step::<Team>(&mut draft, id, c.name(), c, &context).await,
                Step::Project(id, c) => self.step::<Project>(&mut draft, id, c.name(), c, &context).await,
                Step::Build(id, c) => self.step::<Build>(&mut draft, id, c.name(), c, &context).await,
                Step::Deployment(id, c) => {
                    self.step::<Deployment>(&mut draft, id, c.name(), c, &context).await
                }
                Step::Role(id, c) => self.step::<Role>(&mut draft, id, c.name(), c, &context).await,
                Step::RoleAssignment(id, c) => {
                    self.step::<RoleAssignment>(&mut draft, id, c.name(), c, &context).await
                }
            }?;
        }
        if context.mode == Mode::DryRun {
            return Err(CommandError::DryRun(draft.previews));
        }
        if draft.changes.is_empty() {
            let nothing = || crate::StoreError::Answer("nothing was asked".to_owned()).into();
            return draft.last.ok_or_else(nothing);
        }
        self.store.append(draft.changes, context.key.clone()).await
    }

    async fn step<A: Stored>(
        &self,
        draft: &mut Draft,
        id: A::Id,
        name: &str,
        command: A::Command,
        context: &Context,
    ) -> Result<(), CommandError<StepError>>
    where
        StepError: From<A::Error>,
    {
        let key = (A::TYPE, id.to_string());
        let known = draft.aggregates.remove(&key).and_then(|known| known.downcast::<Loaded<A>>().ok());
        let mut loaded = match known {
            Some(known) => *known,
            None => self.store.load::<A>(id).await?,
        };
        if let Some(expected) = context.expected.missed(loaded.version) {
            let actual = loaded.version;
            return Err(CommandError::Conflict { expected, actual, since: vec![] });
        }
        let events = decide(&mut loaded.aggregate, command)
            .await
            .map_err(|error| CommandError::Refused(error.into()))?;
        if context.mode == Mode::DryRun {
            let previews = self.preview::<A>(id, &events).await;
            draft.previews.extend(previews.map_err(|error| error.map_refused(StepError::from))?);
        } else if !events.is_empty() {
            let change = Change::new::<A>(&self.store, id, loaded.clone(), &events, name, context).await?;
            draft.changes.push(change);
        }
        loaded.version += i64::try_from(events.len()).expect("a command has few events");
        let (aggregate_id, version, position) = (loaded.id.clone(), loaded.version, loaded.position);
        draft.last = Some(Receipt { aggregate_id, version, position, repeated: false });
        draft.aggregates.insert(key, Box::new(loaded));
        Ok(())
    }
}

impl Step {
    fn key(&self) -> (&'static str, String) {
        match self {
            Self::User(id, _) => (User::TYPE, id.to_string()),
            Self::Team(id, _) => (Team::TYPE, id.to_string()),
            Self::Project(id, _) => (Project::TYPE, id.to_string()),
            Self::Build(id, _) => (Build::TYPE, id.to_string()),
            Self::Deployment(id, _) => (Deployment::TYPE, id.to_string()),
            Self::Role(id, _) => (Role::TYPE, id.to_string()),
            Self::RoleAssignment(id, _) => (RoleAssignment::TYPE, id.to_string()),
        }
    }
}
