//! An endpoint: where a team wants to be told what happens. A webhook gets events, signed; Slack and mail get the
//! results of builds and deployments.
//!
//! Invariants: what kind of target it has never changes; nothing is sent to one that is disabled but what asks whether it
//! works; one that was deleted never comes back.

mod command;
mod error;
mod event;
mod settings;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::fact::{Fact, Stored};
use crate::ids::{EndpointId, ProjectId, TeamId};
use crate::sealed::Sealed;

pub use command::EndpointCommand;
pub use error::EndpointError;
pub use event::{EndpointEvent, WhyDisabled};
pub use settings::{EndpointSettings, EventPattern, InvalidPattern, Kind, RESULTS, Target};

/// Only what is needed to decide, and to send.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Endpoint {
    living: Option<Living>,
    deleted: bool,
}

/// One that was not deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Living {
    /// Whose.
    pub team_id: TeamId,
    /// What it is.
    pub settings: EndpointSettings,
    /// What its messages are signed with: a webhook's.
    pub secret: Option<Sealed>,
    /// What they were signed with before, and until when they are signed with that too.
    pub old_secret: Option<(Sealed, DateTime<Utc>)>,
    /// Whether it is sent anything.
    pub enabled: bool,
}

impl Endpoint {
    /// It, unless it was deleted or never was.
    pub fn living(&self) -> Option<&Living> {
        self.living.as_ref()
    }

    fn decide(&self, command: EndpointCommand) -> Result<Vec<EndpointEvent>, EndpointError> {
        use EndpointCommand::*;
        use EndpointEvent::*;
        let Some(living) = &self.living else {
            return match command {
                CreateEndpoint { team_id, settings, secret } if !self.deleted => {
                    settings.check()?;
                    Ok(vec![EndpointCreated { team_id, settings, secret }])
                }
                DeleteEndpoint if self.deleted => Ok(vec![]),
                _ => Err(EndpointError::Unknown),
            };
        };
        match command {
            CreateEndpoint { .. } => Err(EndpointError::Exists),
            ChangeEndpoint { settings, enabled } => living.change(settings, enabled),
            RotateSecret { .. } if living.secret.is_none() => Err(EndpointError::NotSigned),
            RotateSecret { secret, overlap_until } => {
                Ok(vec![EndpointSecretRotated { secret, overlap_until }])
            }
            DisableEndpoint { why } if living.enabled => Ok(vec![EndpointDisabled { why }]),
            DisableEndpoint { .. } => Ok(vec![]),
            PingEndpoint => Ok(vec![EndpointPinged {}]),
            RequestRedelivery { .. } | RequestReplay { .. } if !living.enabled => {
                Err(EndpointError::IsDisabled)
            }
            RequestRedelivery { delivery_id } => Ok(vec![EndpointRedeliveryRequested { delivery_id }]),
            RequestReplay { after, upto } => Ok(vec![EndpointReplayRequested { after, upto }]),
            DeleteEndpoint => Ok(vec![EndpointDeleted {}]),
        }
    }
}

impl Living {
    /// Whether it wants to be told of an event of this type, about this project.
    pub fn hears(&self, event_type: &str, project: Option<ProjectId>) -> bool {
        self.settings.wants(event_type)
            && (self.settings.projects.is_empty()
                || project.is_some_and(|project| self.settings.projects.contains(&project)))
    }

    fn change(
        &self,
        settings: EndpointSettings,
        enabled: Option<bool>,
    ) -> Result<Vec<EndpointEvent>, EndpointError> {
        if settings.target.kind() != self.settings.target.kind() {
            return Err(EndpointError::KindIsFixed);
        }
        settings.check()?;
        let changed =
            (!settings.is_same(&self.settings)).then_some(EndpointEvent::EndpointChanged { settings });
        let switched = enabled.filter(|enabled| *enabled != self.enabled).map(|enabled| match enabled {
            true => EndpointEvent::EndpointEnabled {},
            false => EndpointEvent::EndpointDisabled { why: WhyDisabled::Asked },
        });
        Ok(changed.into_iter().chain(switched).collect())
    }
}

impl Aggregate for Endpoint {
    const TYPE: &'static str = "endpoint";
    type Command = EndpointCommand;
    type Event = EndpointEvent;
    type Error = EndpointError;
    type Services = ();

    async fn handle(
        &mut self,
        command: EndpointCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), EndpointError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: EndpointEvent) {
        use EndpointEvent::*;
        if let EndpointCreated { team_id, settings, secret } = event {
            self.living = Some(Living { team_id, settings, secret, old_secret: None, enabled: true });
            return;
        }
        let Some(living) = &mut self.living else { return };
        match event {
            EndpointCreated { .. }
            | EndpointPinged {}
            | EndpointRedeliveryRequested { .. }
            | EndpointReplayRequested { .. } => {}
            EndpointChanged { settings } => living.settings = settings,
            EndpointSecretRotated { secret, overlap_until } => {
                living.old_secret = living.secret.replace(secret).map(|old| (old, overlap_until));
            }
            EndpointEnabled {} => living.enabled = true,
            EndpointDisabled { .. } => living.enabled = false,
            EndpointDeleted {} => {
                self.living = None;
                self.deleted = true;
            }
        }
    }
}

impl Stored for Endpoint {
    type Id = EndpointId;

    fn fact(id: EndpointId, event: EndpointEvent) -> Fact {
        Fact::Endpoint(id, event)
    }
}

#[cfg(test)]
mod tests;
