//! The rules of a deployment.

use std::net::SocketAddr;

use domain::build::FailureCode;
use domain::deployment::DeploymentCommand::*;
use domain::deployment::DeploymentEvent::*;
use domain::deployment::{Deployment, DeploymentCommand, DeploymentError, DeploymentEvent, DeploymentKind};
use domain::ids::{BuildId, DeploymentId, EnvironmentId};
use domain::ports::artifacts::Artifact;
use proptest::prelude::*;

use super::machine::{Answer, Model};
use super::values::{id, ids};

/// What is to run, and how far it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    what: Option<(EnvironmentId, BuildId)>,
    stage: Stage,
    /// The fence of the last worker.
    fence: i64,
    crashes: u32,
    served: bool,
    failed: bool,
    rolled_back: bool,
    /// Where it serves.
    addresses: Vec<SocketAddr>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Stage {
    /// Nobody is at it: new, or crashed.
    #[default]
    Waiting,
    Starting,
    Serving,
    Asleep,
    Over,
}

fn start(fence: i64) -> DeploymentCommand {
    StartDeployment { fence, runner: "local".to_owned() }
}

fn activate(fence: i64) -> DeploymentCommand {
    ActivateDeployment { fence, addresses: at(&[4111]) }
}

fn at(ports: &[u16]) -> Vec<SocketAddr> {
    ports.iter().map(|port| ([127, 0, 0, 1], *port).into()).collect()
}

fn changes(fence: i64) -> impl Strategy<Value = DeploymentCommand> {
    let ports = prop::sample::select(vec![&[4111][..], &[4112], &[4111, 4112], &[4112, 4113], &[]]);
    ports.prop_map(move |ports| ChangeReplicas { fence, addresses: at(ports), message: None })
}

fn crashes(fence: i64) -> impl Strategy<Value = DeploymentCommand> {
    let up_seconds = prop_oneof![3 => 0u64..60, 1 => prop::sample::select(&[59u64, 60, 600][..])];
    up_seconds.prop_map(move |up_seconds| ReportCrash {
        fence,
        exit_code: Some(1),
        message: "it fell".to_owned(),
        up_seconds,
    })
}

/// What a worker says under a fence.
fn reports(fence: i64) -> BoxedStrategy<DeploymentCommand> {
    prop_oneof![
        12 => Just(start(fence)),
        12 => Just(activate(fence)),
        12 => crashes(fence),
        12 => changes(fence),
        1 => Just(FailDeployment {
            fence,
            code: FailureCode::NeverReady,
            message: "no answer".to_owned(),
            exit_code: None,
        }),
    ]
    .boxed()
}

impl Model for Rules {
    type Of = Deployment;

    fn births() -> BoxedStrategy<DeploymentCommand> {
        let kinds = prop::sample::select(&[DeploymentKind::Deploy, DeploymentKind::Rollback][..]);
        (ids(2), ids(2), kinds)
            .prop_map(|(environment_id, build_id, kind)| RequestDeployment {
                team_id: id(1),
                project_id: id(1),
                environment_id,
                build_id,
                artifact: Artifact { sha256: "ab".repeat(32), bytes: 1 },
                node_version: "22.13.0".to_owned(),
                env_vars: vec![],
                kind,
            })
            .boxed()
    }

    fn commands(&self) -> BoxedStrategy<DeploymentCommand> {
        prop_oneof![
            20 => self.next_step(),
            8 => reports(self.fence.max(1)),
            4 => (1i64..=4).prop_flat_map(reports),
            1 => ids(2).prop_map(|by| SupersedeDeployment { by }),
            1 => Just(StopDeployment),
            2 => ids(2).prop_map(|to| RollBackDeployment {
                to,
                code: FailureCode::CrashLoop,
                message: "it fell".to_owned(),
            }),
            3 => Just(SleepDeployment),
        ]
        .boxed()
    }

    fn is_born(&self) -> bool {
        self.what.is_some()
    }

    fn obey(&mut self, command: DeploymentCommand) -> Answer<Self> {
        if let RequestDeployment { .. } = command {
            return self.obey_request(command);
        }
        if self.what.is_none() {
            return Err(DeploymentError::Unknown);
        }
        let over = self.stage == Stage::Over;
        let fence = match command {
            RollBackDeployment { to, code, message } => return self.obey_roll_back(to, code, message),
            StopDeployment | SupersedeDeployment { .. } if over => return Ok(vec![]),
            StopDeployment => return self.end(DeploymentStopped {}),
            SupersedeDeployment { by } => return self.end(DeploymentSuperseded { by }),
            SleepDeployment if over => return Err(DeploymentError::AlreadyOver),
            SleepDeployment => return self.obey_sleep(),
            StartDeployment { fence, .. }
            | ActivateDeployment { fence, .. }
            | ChangeReplicas { fence, .. }
            | ReportCrash { fence, .. }
            | FailDeployment { fence, .. } => fence,
            RequestDeployment { .. } => unreachable!("answered above"),
        };
        if fence < self.fence {
            return Err(DeploymentError::StaleFence);
        }
        if over {
            return Err(DeploymentError::AlreadyOver);
        }
        let is_held = self.stage != Stage::Waiting;
        if is_held && fence > self.fence && !matches!(command, StartDeployment { .. }) {
            return Err(DeploymentError::UnknownFence);
        }
        self.obey_worker(command)
    }

    fn check(&self, state: &Deployment, history: &[DeploymentEvent]) {
        assert_eq!(state.is_running(), self.stage == Stage::Serving);
        assert_eq!(state.is_over(), self.stage == Stage::Over);
        assert_eq!(state.crashes(), self.crashes);
        assert_eq!(state.addresses(), if state.is_running() { &self.addresses[..] } else { &[] });
        assert!(state.crashes() < 5, "so many crashes end it");
        for (at, event) in history.iter().enumerate() {
            let before = at.checked_sub(1).map(|before| &history[before]);
            let follows = match event {
                DeploymentRequested { .. } => before.is_none(),
                DeploymentActivated { .. } => matches!(before, Some(DeploymentStarting { .. })),
                DeploymentCrashed { .. } | DeploymentSlept {} | DeploymentReplicasChanged { .. } => {
                    matches!(before, Some(DeploymentActivated { .. } | DeploymentReplicasChanged { .. }))
                }
                DeploymentRolledBack { .. } => matches!(before, Some(DeploymentFailed { .. })),
                DeploymentStarting { .. }
                | DeploymentFailed { .. }
                | DeploymentSuperseded { .. }
                | DeploymentStopped {} => before.is_some(),
            };
            assert!(follows, "{event:?} after {before:?}");
            let is_end =
                matches!(event, DeploymentFailed { .. } | DeploymentSuperseded { .. } | DeploymentStopped {});
            let follows_the_end = history.get(at + 1);
            assert!(
                !is_end || follows_the_end.is_none_or(|next| matches!(next, DeploymentRolledBack { .. })),
                "nothing follows the end, but what came of it"
            );
            let is_last_word = matches!(event, DeploymentRolledBack { .. });
            assert!(!is_last_word || at + 1 == history.len(), "nothing at all follows that");
        }
    }
}

impl Rules {
    /// What the present worker says when all goes as it mostly goes.
    fn next_step(&self) -> BoxedStrategy<DeploymentCommand> {
        let fence = self.fence.max(1);
        match self.stage {
            Stage::Waiting | Stage::Asleep => Just(start(fence)).boxed(),
            Stage::Starting => Just(activate(fence)).boxed(),
            Stage::Serving => prop_oneof![crashes(fence), changes(fence)].boxed(),
            Stage::Over => crashes(fence).boxed(),
        }
    }

    fn obey_roll_back(&mut self, to: DeploymentId, code: FailureCode, message: String) -> Answer<Self> {
        match self {
            Self { rolled_back: true, .. } => Ok(vec![]),
            Self { served: true, failed: true, .. } => {
                self.rolled_back = true;
                Ok(vec![DeploymentRolledBack { to, code, message }])
            }
            _ => Err(DeploymentError::NothingToGoBackFrom),
        }
    }

    fn obey_sleep(&mut self) -> Answer<Self> {
        match self.stage {
            Stage::Serving => {
                self.stage = Stage::Asleep;
                Ok(vec![DeploymentSlept {}])
            }
            Stage::Asleep => Ok(vec![]),
            _ => Err(DeploymentError::NotStarted),
        }
    }

    fn end(&mut self, event: DeploymentEvent) -> Answer<Self> {
        self.stage = Stage::Over;
        self.failed = matches!(event, DeploymentFailed { .. });
        Ok(vec![event])
    }

    fn obey_request(&mut self, command: DeploymentCommand) -> Answer<Self> {
        let RequestDeployment {
            team_id,
            project_id,
            environment_id,
            build_id,
            artifact,
            node_version,
            env_vars,
            kind,
        } = command
        else {
            unreachable!("called with a request only")
        };
        match self.what {
            Some(what) if what == (environment_id, build_id) => Ok(vec![]),
            Some(_) => Err(DeploymentError::Exists),
            None => {
                self.what = Some((environment_id, build_id));
                Ok(vec![DeploymentRequested {
                    team_id,
                    project_id,
                    environment_id,
                    build_id,
                    artifact,
                    node_version,
                    env_vars,
                    kind,
                }])
            }
        }
    }

    fn obey_worker(&mut self, command: DeploymentCommand) -> Answer<Self> {
        match command {
            StartDeployment { fence, runner } => {
                if self.stage == Stage::Starting && self.fence == fence {
                    return Ok(vec![]);
                }
                (self.stage, self.fence) = (Stage::Starting, fence);
                Ok(vec![DeploymentStarting { fence, runner }])
            }
            _ if self.stage == Stage::Waiting => Err(DeploymentError::NotStarted),
            ActivateDeployment { addresses, .. } | ChangeReplicas { addresses, .. }
                if addresses.is_empty() =>
            {
                Err(DeploymentError::NoAddress)
            }
            ActivateDeployment { .. } if self.stage == Stage::Asleep => Err(DeploymentError::NotStarted),
            ReportCrash { .. } if self.stage == Stage::Asleep => Ok(vec![]),
            ActivateDeployment { addresses, .. } => {
                self.served = true;
                if std::mem::replace(&mut self.stage, Stage::Serving) == Stage::Serving {
                    return Ok(vec![]);
                }
                self.addresses = addresses;
                Ok(vec![DeploymentActivated { address: self.addresses[0], addresses: vec![] }])
            }
            ChangeReplicas { .. } if self.stage != Stage::Serving => Err(DeploymentError::NotStarted),
            ChangeReplicas { addresses, message, .. } => {
                if std::mem::replace(&mut self.addresses, addresses.clone()) == addresses {
                    return Ok(vec![]);
                }
                Ok(vec![DeploymentReplicasChanged { addresses, message }])
            }
            ReportCrash { .. } if self.stage == Stage::Starting => Err(DeploymentError::NotStarted),
            ReportCrash { exit_code, message, up_seconds, .. } => {
                let row = if up_seconds < 60 { self.crashes } else { 0 };
                let crashes = row + 1;
                if crashes == 5 {
                    let message = format!("it crashed 5 times in a row; the last time: {message}");
                    return self.end(DeploymentFailed { code: FailureCode::CrashLoop, message, exit_code });
                }
                (self.stage, self.crashes) = (Stage::Waiting, crashes);
                Ok(vec![DeploymentCrashed { exit_code, message, crashes }])
            }
            FailDeployment { code, message, exit_code, .. } => {
                self.end(DeploymentFailed { code, message, exit_code })
            }
            _ => unreachable!("answered before"),
        }
    }
}
