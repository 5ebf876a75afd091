//! The write side: load, decide, append.
//!
//! [`Commands`] has one method per aggregate. Each loads the aggregate, lets it decide, and appends its events
//! with the names they take and the caller's idempotency key in one transaction.

mod access;
pub mod access_codes;
pub mod answers;
mod context;
pub mod credentials;
pub mod deployment_token;
pub mod installations;
mod outcome;
mod roles;
mod schema;
pub mod second_factors;
pub mod sessions;
mod store;
pub mod telemetry_usage;
mod together;
pub mod token_uses;
pub mod told;
pub mod uploads;
mod vault;

use std::sync::Arc;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use domain::build::{Build, BuildCommand, BuildError};
use domain::claim::Claim;
use domain::deployment::{Deployment, DeploymentCommand, DeploymentError};
use domain::endpoint::{Endpoint, EndpointCommand, EndpointError};
use domain::fact::Stored;
use domain::ids::{AssignmentId, BuildId, DeploymentId, EndpointId, ProjectId, RoleId, TeamId, UserId};
use domain::project::{Project, ProjectCommand, ProjectError};
use domain::role::{Role, RoleCommand, RoleError};
use domain::role_assignment::{RoleAssignment, RoleAssignmentCommand, RoleAssignmentError};
use domain::team::{Team, TeamCommand, TeamError};
use domain::user::{User, UserCommand, UserError};
use sqlx::PgPool;

pub use context::{Context, Expected, IdempotencyKey, Mode};
pub use outcome::{CommandError, MOST_SINCE, Preview, Receipt, Since, StoreError};
pub use roles::RoleChange;
pub use schema::{SchemaError, migrate};
use store::Change;
pub use store::{Appender, Loaded, Store};
pub use together::{Step, StepError};
pub use vault::rotate::Present as PresentMasterKey;
pub use vault::{Vault, VaultError};

/// How often a command is decided anew when others change the same aggregate meanwhile.
const TRIES: u32 = 12;

/// Answer of a command.
pub type Answer<E> = Result<Receipt, CommandError<E>>;

/// The command bus.
#[derive(Clone)]
pub struct Commands {
    store: Store,
    vault: Arc<Vault>,
    flood: Arc<access::Flood>,
}

impl Commands {
    /// A bus on this log.
    pub fn new(pool: PgPool, appender: Appender, vault: Arc<Vault>) -> Self {
        Self { store: Store::new(pool, appender, vault.clone()), vault, flood: Arc::default() }
    }

    /// Seals what commands carry.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The event store below, for what speaks cqrs-es.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The aggregate as it is now, for who has to decide with it.
    pub async fn load<A: Stored>(&self, id: A::Id) -> Result<Loaded<A>, StoreError> {
        self.store.load(id).await
    }

    /// A command to a user.
    pub async fn user(&self, id: UserId, command: UserCommand, context: &Context) -> Answer<UserError> {
        let name = command.name();
        self.run::<User>(id, name, command, context).await
    }

    /// A command to a team.
    pub async fn team(&self, id: TeamId, command: TeamCommand, context: &Context) -> Answer<TeamError> {
        let name = command.name();
        self.run::<Team>(id, name, command, context).await
    }

    /// A command to a project.
    pub async fn project(
        &self,
        id: ProjectId,
        command: ProjectCommand,
        context: &Context,
    ) -> Answer<ProjectError> {
        let name = command.name();
        self.run::<Project>(id, name, command, context).await
    }

    /// A command to a build.
    pub async fn build(&self, id: BuildId, command: BuildCommand, context: &Context) -> Answer<BuildError> {
        let name = command.name();
        self.run::<Build>(id, name, command, context).await
    }

    /// A command to a deployment.
    pub async fn deployment(
        &self,
        id: DeploymentId,
        command: DeploymentCommand,
        context: &Context,
    ) -> Answer<DeploymentError> {
        let name = command.name();
        self.run::<Deployment>(id, name, command, context).await
    }

    /// A command to a custom role.
    pub async fn role(&self, id: RoleId, command: RoleCommand, context: &Context) -> Answer<RoleError> {
        let name = command.name();
        self.run::<Role>(id, name, command, context).await
    }

    /// A command to a role assignment.
    pub async fn role_assignment(
        &self,
        id: AssignmentId,
        command: RoleAssignmentCommand,
        context: &Context,
    ) -> Answer<RoleAssignmentError> {
        let name = command.name();
        self.run::<RoleAssignment>(id, name, command, context).await
    }

    /// A command to an endpoint.
    pub async fn endpoint(
        &self,
        id: EndpointId,
        command: EndpointCommand,
        context: &Context,
    ) -> Answer<EndpointError> {
        let name = command.name();
        self.run::<Endpoint>(id, name, command, context).await
    }

    /// Decide, append; anew when somebody else was faster.
    async fn run<A>(&self, id: A::Id, name: &str, command: A::Command, context: &Context) -> Answer<A::Error>
    where
        A: Stored,
    {
        let _turn = self.store.turn(A::TYPE, &id.to_string()).await;
        let mut tries = 0;
        loop {
            let answer = self.run_once::<A>(id, name, &command, context).await;
            tries += 1;
            match answer {
                Err(CommandError::Conflict { .. }) if context.expected == Expected::Any && tries < TRIES => {
                    conflict(A::TYPE);
                    tokio::time::sleep(jitter(tries)).await;
                }
                Err(CommandError::Conflict { expected, actual, .. }) if context.expected != Expected::Any => {
                    let since = self.store.since(A::TYPE, &id.to_string(), expected).await?;
                    return Err(CommandError::Conflict { expected, actual, since });
                }
                answer => return answer,
            }
        }
    }

    /// Decides with the aggregate as it was last seen, which costs nothing. When that leads to new events, the log
    /// refuses them if there is a newer state. When it does not, it is asked first whether the command was carried
    /// out before, and the decision is made again with what the log has.
    async fn run_once<A>(
        &self,
        id: A::Id,
        name: &str,
        command: &A::Command,
        context: &Context,
    ) -> Answer<A::Error>
    where
        A: Stored,
    {
        let key = context.key.as_ref().filter(|_| context.mode == Mode::Append);
        let (mut loaded, mut is_fresh) = match (context.expected, context.mode) {
            (Expected::New, Mode::Append) => (Loaded::new(id.to_string()), false),
            _ => self.store.recall::<A>(&id.to_string()).await?,
        };
        let mut is_new = key.is_none();
        loop {
            let decided = decide_as_expected(&mut loaded, command.clone(), context).await;
            if let Ok(events) = &decided
                && !events.is_empty()
                && context.mode == Mode::Append
            {
                let change = Change::new::<A>(&self.store, id, loaded, events, name, context).await?;
                return self.store.append(vec![change], context.key.clone()).await;
            }
            if let Some(key) = key.filter(|_| !is_new) {
                if let Some(receipt) = self.store.find_receipt(key).await? {
                    return Ok(receipt);
                }
                is_new = true;
            }
            if is_fresh {
                let events = decided?;
                if context.mode == Mode::DryRun {
                    return Err(CommandError::DryRun(self.preview::<A>(id, &events).await?));
                }
                let (aggregate_id, version, position) = (loaded.id, loaded.version, loaded.position);
                return Ok(Receipt { aggregate_id, version, position, repeated: false });
            }
            loaded = self.store.load::<A>(id).await?;
            is_fresh = true;
        }
    }

    /// The events as a dry run shows them, when the log would take them.
    async fn preview<A: Stored>(
        &self,
        id: A::Id,
        events: &[A::Event],
    ) -> Result<Vec<Preview>, CommandError<A::Error>> {
        if let Some(Claim { scope, key, .. }) = self.store.find_taken::<A>(id, events).await? {
            return Err(CommandError::NameTaken { scope, key });
        }
        let preview = |event: &A::Event| {
            let payload = serde_json::to_value(event).expect("events serialise");
            store::check_size(&payload.to_string())?;
            Ok(Preview { aggregate_type: A::TYPE, event_type: event.event_type(), payload })
        };
        events.iter().map(preview).collect()
    }
}

/// What the aggregate says, when it has the version that the caller asks for.
async fn decide_as_expected<A: Stored>(
    loaded: &mut Loaded<A>,
    command: A::Command,
    context: &Context,
) -> Result<Vec<A::Event>, CommandError<A::Error>> {
    let actual = loaded.version;
    match context.expected.missed(actual) {
        Some(expected) => Err(CommandError::Conflict { expected, actual, since: vec![] }),
        None => decide(&mut loaded.aggregate, command).await.map_err(CommandError::Refused),
    }
}

async fn decide<A: Aggregate<Services = ()>>(
    aggregate: &mut A,
    command: A::Command,
) -> Result<Vec<A::Event>, A::Error> {
    let sink = EventSink::default();
    aggregate.handle(command, &(), &sink).await?;
    Ok(sink.collect().await)
}

/// Counts a command that is decided anew.
fn conflict(aggregate: &'static str) {
    metrics::counter!("mastra_admin_append_conflicts_total", "aggregate" => aggregate).increment(1);
}

/// Full jitter: nobody waits in step with anybody, at most 2^tries milliseconds.
fn jitter(tries: u32) -> std::time::Duration {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("the operating system has random bytes");
    let ceiling = 1000_u64 << tries.min(8);
    std::time::Duration::from_micros(u64::from_le_bytes(random) % ceiling)
}
