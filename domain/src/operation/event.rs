//! Events of operations. To add one: a variant, its line in `names`, its golden JSON.

use chrono::{DateTime, NaiveDate, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::ids::{EventId, ProjectId, TeamId, UserId};

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum OperationEvent {
    /// A read model was built anew and swapped in.
    #[serde(rename = "ops.read_model_rebuilt")]
    ReadModelRebuilt {
        /// The read model.
        name: String,
        /// The version of its code.
        version: i32,
        /// The last event it had taken in.
        position: i64,
    },
    /// The generation of a read model that was kept is the live one again.
    #[serde(rename = "ops.read_model_rolled_back")]
    ReadModelRolledBack {
        /// The read model.
        name: String,
        /// Number of the generation that is live now.
        generation: i64,
        /// The last event it had taken in.
        position: i64,
    },
    /// Generations that were kept are gone.
    #[serde(rename = "ops.generations_collected")]
    GenerationsCollected {
        /// Their schemas.
        schemas: Vec<String>,
    },
    /// A consumer of the log reads no more.
    #[serde(rename = "ops.consumer_paused")]
    ConsumerPaused {
        /// The consumer.
        consumer: String,
    },
    /// A consumer of the log reads again.
    #[serde(rename = "ops.consumer_resumed")]
    ConsumerResumed {
        /// The consumer.
        consumer: String,
    },
    /// The checkpoint of a consumer was set.
    #[serde(rename = "ops.consumer_reset")]
    ConsumerReset {
        /// The consumer.
        consumer: String,
        /// Where it was.
        old_position: i64,
        /// Where it is.
        position: i64,
    },
    /// The parked events of a partition were taken in, in order.
    #[serde(rename = "ops.dead_letter_retried")]
    DeadLetterRetried {
        /// The consumer that had parked them.
        consumer: String,
        /// The partition.
        partition: String,
        /// How many.
        events: i64,
    },
    /// A parked event is never taken in by this consumer.
    #[serde(rename = "ops.dead_letter_skipped")]
    DeadLetterSkipped {
        /// The consumer that had parked it.
        consumer: String,
        /// The partition.
        partition: String,
        /// The event.
        event_id: EventId,
        /// Its position.
        position: i64,
        /// Why, in the operator's words.
        reason: String,
    },
    /// The log up to a position was written to a file, with the keys of what is sealed in it.
    #[serde(rename = "ops.log_exported_with_keys")]
    LogExportedWithKeys {
        /// The last event of the file.
        position: i64,
    },
    /// The log up to here was read from a file.
    #[serde(rename = "ops.log_imported")]
    LogImported {
        /// How many events it had.
        events: i64,
        /// SHA-256 of the file without its last line, in hex.
        sha256: String,
    },
    /// The keys of a person were destroyed.
    #[serde(rename = "ops.person_shredded")]
    PersonShredded {
        /// Who.
        user_id: UserId,
    },
    /// A checkpoint of the ledger was asked for.
    #[serde(rename = "ops.ledger_checkpoint_signed")]
    LedgerCheckpointSigned {
        /// Its number.
        number: i64,
        /// How many events it covers.
        size: i64,
    },
    /// Another key signs the ledger from now on.
    #[serde(rename = "ops.ledger_key_rotated")]
    LedgerKeyRotated {
        /// The first checkpoint that says so.
        number: i64,
        /// Whether the old key was lost and could not name it.
        lost: bool,
    },
    /// Another master key wraps new data keys from now on, and the others are wrapped anew.
    #[serde(rename = "ops.master_key_rotation_begun")]
    MasterKeyRotationBegun {
        /// Name of the master key before; it tells nothing of it.
        from: String,
        /// Name of the master key from now on.
        to: String,
    },
    /// Every data key is wrapped by the present master key: nothing needs the one before any more.
    #[serde(rename = "ops.master_key_rotated")]
    MasterKeyRotated {
        /// Name of the present master key.
        to: String,
        /// How many data keys there are.
        data_keys: i64,
    },
    /// From now on calls of models in a project's telemetry get other costs.
    #[serde(rename = "ops.telemetry_rerate_begun")]
    TelemetryRerateBegun {
        /// The team.
        team_id: TeamId,
        /// Its project.
        project_id: ProjectId,
        /// Calls from this moment on; all before the end when absent.
        from: Option<DateTime<Utc>>,
        /// Calls before this moment; all from the beginning when absent.
        to: Option<DateTime<Utc>>,
        /// The day of the table of prices.
        prices: NaiveDate,
    },
    /// The calls of models in a project's telemetry cost what they cost by a table of prices.
    #[serde(rename = "ops.telemetry_rerated")]
    TelemetryRerated {
        /// The team.
        team_id: TeamId,
        /// Its project.
        project_id: ProjectId,
        /// Calls from this moment on; all before the end when absent.
        from: Option<DateTime<Utc>>,
        /// Calls before this moment; all from the beginning when absent.
        to: Option<DateTime<Utc>>,
        /// The day of the table of prices.
        prices: NaiveDate,
        /// How many rows got another cost or price this time.
        rows: u64,
        /// What these rows cost before, in US dollars.
        cost_before_usd: String,
        /// What they cost now, in US dollars.
        cost_after_usd: String,
    },
}

impl OperationEvent {
    /// Its stable type, and the name of the command for the envelope.
    fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::ReadModelRebuilt { .. } => ("ops.read_model_rebuilt", "RebuildReadModel"),
            Self::ReadModelRolledBack { .. } => ("ops.read_model_rolled_back", "RollBackReadModel"),
            Self::GenerationsCollected { .. } => ("ops.generations_collected", "CollectGenerations"),
            Self::ConsumerPaused { .. } => ("ops.consumer_paused", "PauseConsumer"),
            Self::ConsumerResumed { .. } => ("ops.consumer_resumed", "ResumeConsumer"),
            Self::ConsumerReset { .. } => ("ops.consumer_reset", "ResetConsumer"),
            Self::DeadLetterRetried { .. } => ("ops.dead_letter_retried", "RetryDeadLetter"),
            Self::DeadLetterSkipped { .. } => ("ops.dead_letter_skipped", "SkipDeadLetter"),
            Self::LogExportedWithKeys { .. } => ("ops.log_exported_with_keys", "ExportLogWithKeys"),
            Self::LogImported { .. } => ("ops.log_imported", "ImportLog"),
            Self::PersonShredded { .. } => ("ops.person_shredded", "ShredPerson"),
            Self::LedgerCheckpointSigned { .. } => ("ops.ledger_checkpoint_signed", "SignLedgerCheckpoint"),
            Self::LedgerKeyRotated { .. } => ("ops.ledger_key_rotated", "RotateLedgerKey"),
            Self::MasterKeyRotationBegun { .. } => {
                ("ops.master_key_rotation_begun", "BeginMasterKeyRotation")
            }
            Self::MasterKeyRotated { .. } => ("ops.master_key_rotated", "RotateMasterKey"),
            Self::TelemetryRerateBegun { .. } => ("ops.telemetry_rerate_begun", "BeginTelemetryRerate"),
            Self::TelemetryRerated { .. } => ("ops.telemetry_rerated", "RerateTelemetry"),
        }
    }

    /// The name of the command kept in the envelope.
    pub fn command(&self) -> &'static str {
        self.names().1
    }
}

impl DomainEvent for OperationEvent {
    fn event_type(&self) -> String {
        self.names().0.to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
