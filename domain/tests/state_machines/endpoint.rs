//! The rules of an endpoint.

use chrono::DateTime;
use domain::endpoint::EndpointCommand::*;
use domain::endpoint::EndpointEvent::*;
use domain::endpoint::{
    Endpoint, EndpointCommand, EndpointError, EndpointEvent, EndpointSettings, Target, WhyDisabled,
};
use domain::ids::EndpointId;
use domain::sealed::{KeyOwner, Sealed};
use proptest::prelude::*;

use super::machine::{Answer, ID, Model};
use super::values::{id, ids, sealings, texts};

/// What it is, whether it is signed, and whether it is told anything; or that it is no more.
#[derive(Clone, Debug, Default)]
pub(crate) enum Rules {
    #[default]
    Unborn,
    Living {
        settings: EndpointSettings,
        secrets: Vec<Sealed>,
        enabled: bool,
    },
    Deleted,
}

fn sealed() -> impl Strategy<Value = Sealed> {
    sealings(KeyOwner::Endpoint(EndpointId(ID)))
}

fn settings() -> impl Strategy<Value = EndpointSettings> {
    let targets = prop_oneof![
        3 => sealed().prop_map(|url| Target::Webhook { url }),
        1 => sealed().prop_map(|url| Target::Slack { url }),
        1 => ids(2).prop_map(|to| Target::Email { to: [to].into() }),
    ];
    // All of them are of results: what else there may be depends on the kind, and has tests of its own.
    (texts(&["A", "B"]), targets, texts(&["build.*", "deployment.failed"]), ids(2)).prop_map(
        |(name, target, event, project)| EndpointSettings {
            name,
            target,
            events: [event].into(),
            projects: [project].into(),
        },
    )
}

/// Whether both lead to the same place, are told the same, and are called the same.
fn are_same(one: &EndpointSettings, other: &EndpointSettings) -> bool {
    let place = |it: &EndpointSettings| match &it.target {
        Target::Webhook { url } => format!("webhook {}", url.mark),
        Target::Slack { url } => format!("slack {}", url.mark),
        Target::Email { to } => format!("email {to:?}"),
    };
    place(one) == place(other)
        && (&one.name, &one.events, &one.projects) == (&other.name, &other.events, &other.projects)
}

impl Model for Rules {
    type Of = Endpoint;

    fn births() -> BoxedStrategy<EndpointCommand> {
        (settings(), sealed())
            .prop_map(|(settings, secret)| {
                let secret = matches!(settings.target, Target::Webhook { .. }).then_some(secret);
                CreateEndpoint { team_id: id(1), settings, secret }
            })
            .boxed()
    }

    fn commands(&self) -> BoxedStrategy<EndpointCommand> {
        let whys = [WhyDisabled::Asked, WhyDisabled::Gone, WhyDisabled::Failing];
        prop_oneof![
            4 => (settings(), any::<Option<bool>>())
                .prop_map(|(settings, enabled)| ChangeEndpoint { settings, enabled }),
            2 => sealed().prop_map(|secret| RotateSecret { secret, overlap_until: DateTime::UNIX_EPOCH }),
            2 => prop::sample::select(whys.to_vec()).prop_map(|why| DisableEndpoint { why }),
            1 => Just(PingEndpoint),
            1 => ids(2).prop_map(|delivery_id| RequestRedelivery { delivery_id }),
            1 => Just(RequestReplay { after: 1, upto: 2 }),
            1 => Just(DeleteEndpoint),
        ]
        .boxed()
    }

    fn is_born(&self) -> bool {
        !matches!(self, Self::Unborn)
    }

    fn obey(&mut self, command: EndpointCommand) -> Answer<Self> {
        let (now, secrets, is_on) = match (&mut *self, &command) {
            (Self::Unborn, CreateEndpoint { team_id, settings, secret }) => {
                let (team_id, settings, secret) = (*team_id, settings.clone(), secret.clone());
                let secrets = secret.iter().cloned().collect();
                *self = Self::Living { settings: settings.clone(), secrets, enabled: true };
                return Ok(vec![EndpointCreated { team_id, settings, secret }]);
            }
            (Self::Deleted, DeleteEndpoint) => return Ok(vec![]),
            (Self::Unborn | Self::Deleted, _) => return Err(EndpointError::Unknown),
            (Self::Living { settings, secrets, enabled }, _) => (settings, secrets, enabled),
        };
        match command {
            CreateEndpoint { .. } => Err(EndpointError::Exists),
            ChangeEndpoint { settings, .. } if settings.target.kind() != now.target.kind() => {
                Err(EndpointError::KindIsFixed)
            }
            ChangeEndpoint { settings, enabled } => {
                let mut events = vec![];
                if !are_same(&settings, now) {
                    *now = settings.clone();
                    events.push(EndpointChanged { settings });
                }
                match (enabled, std::mem::replace(is_on, enabled.unwrap_or(*is_on))) {
                    (Some(true), false) => events.push(EndpointEnabled {}),
                    (Some(false), true) => events.push(EndpointDisabled { why: WhyDisabled::Asked }),
                    _ => {}
                }
                Ok(events)
            }
            RotateSecret { .. } if secrets.is_empty() => Err(EndpointError::NotSigned),
            RotateSecret { secret, overlap_until } => {
                secrets.push(secret.clone());
                Ok(vec![EndpointSecretRotated { secret, overlap_until }])
            }
            DisableEndpoint { why } => {
                Ok(if std::mem::replace(is_on, false) { vec![EndpointDisabled { why }] } else { vec![] })
            }
            PingEndpoint => Ok(vec![EndpointPinged {}]),
            RequestRedelivery { .. } | RequestReplay { .. } if !*is_on => Err(EndpointError::IsDisabled),
            RequestRedelivery { delivery_id } => Ok(vec![EndpointRedeliveryRequested { delivery_id }]),
            RequestReplay { after, upto } => Ok(vec![EndpointReplayRequested { after, upto }]),
            DeleteEndpoint => {
                *self = Self::Deleted;
                Ok(vec![EndpointDeleted {}])
            }
        }
    }

    fn check(&self, state: &Endpoint, history: &[EndpointEvent]) {
        let Self::Living { settings, secrets, enabled } = self else {
            assert!(state.living().is_none());
            return;
        };
        let living = state.living().unwrap();
        assert_eq!((&living.settings, living.enabled), (settings, *enabled));
        assert_eq!(living.secret.as_ref(), secrets.last());
        let before = living.old_secret.as_ref().map(|(secret, _)| secret);
        assert_eq!(before, secrets.iter().rev().nth(1), "two secrets sign at most");
        let switches = history.iter().filter(|it| matches!(it, EndpointEnabled {} | EndpointDisabled { .. }));
        for (at, switch) in switches.enumerate() {
            assert_eq!(matches!(switch, EndpointEnabled {}), at % 2 == 1, "off and on in turn");
        }
    }
}
