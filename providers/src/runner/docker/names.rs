//! Names and labels: whose each object of the engine is, and what it belongs to.

use std::collections::HashMap;

use domain::ids::{BuildId, DeploymentId, TeamId};
use domain::ports::runner::{BuildPlan, Cause, StartPlan};
use domain::values::Resources;

/// Label: the platform that made it. Others of the same engine are left alone.
pub(super) const INSTANCE: &str = "mastra-admin.instance";
/// Label: name of the build or server that it goes away with.
pub(super) const OWNER: &str = "mastra-admin.owner";
/// Label: its team.
pub(super) const TEAM: &str = "mastra-admin.team";
const PROJECT: &str = "mastra-admin.project";
const ENVIRONMENT: &str = "mastra-admin.environment";
const EVENT: &str = "mastra-admin.event";
const FENCE: &str = "mastra-admin.fence";
const BUILD: &str = "mastra-admin.build";
const DEPLOYMENT: &str = "mastra-admin.deployment";
const HEALTH: &str = "mastra-admin.health";
const PORT: &str = "mastra-admin.port";
const DISK: &str = "mastra-admin.disk-mib";
const REPLICA: &str = "mastra-admin.replica";
const REPLICAS: &str = "mastra-admin.replicas";
/// Label: `build`, `server`, `cache`, `tool`, `network`.
pub(super) const KIND: &str = "mastra-admin.kind";

/// Labels of one object.
pub(super) type Labels = HashMap<String, String>;

/// The names of one platform.
#[derive(Clone)]
pub(super) struct Names {
    /// Random, kept in the data directory.
    pub(super) instance: String,
}

/// Name of a build, for its claim and its label.
pub(super) fn build(build: BuildId) -> String {
    format!("build-{build}")
}

/// Name of a deployment's servers, for their claim and their label.
pub(super) fn server(deployment: DeploymentId) -> String {
    format!("server-{deployment}")
}

/// Name of one of them: they are counted from 1, and the first has the name of all.
pub(super) fn replica(deployment: DeploymentId, number: u8) -> String {
    if number == 1 { server(deployment) } else { format!("{}-{number}", server(deployment)) }
}

/// Which of a deployment's servers one is, as its labels say.
pub(super) fn number(labels: &Labels) -> u8 {
    labels.get(REPLICA).and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// What a server was told when it was started, as its labels say: how many there are, when each is healthy, the port that
/// it sets by itself, how much it may write. A later change of the project waits until all of them are started again.
pub(super) fn as_started(plan: StartPlan, labels: &Labels) -> StartPlan {
    let gate = labels.get(HEALTH).and_then(|text| serde_json::from_str(text).ok());
    let said = |label: &str| labels.get(label).and_then(|text| text.parse::<u32>().ok());
    StartPlan {
        health: gate.unwrap_or_default(),
        port: said(PORT).and_then(|port| u16::try_from(port).ok()),
        limits: Resources { disk_mib: said(DISK), ..plan.limits },
        replicas: said(REPLICAS).and_then(|count| u8::try_from(count).ok()).unwrap_or(1),
        ..plan
    }
}

impl Names {
    /// Name of an object: one of ours is never mistaken for another platform's.
    pub(super) fn of(&self, what: &str) -> String {
        format!("mastra-admin-{}-{what}", self.instance)
    }

    /// Labels of what belongs to nobody in particular.
    pub(super) fn labels(&self, kind: &str) -> Labels {
        labelled([(INSTANCE, self.instance.clone()), (KIND, kind.to_owned())])
    }

    /// Labels of what belongs to a team.
    pub(super) fn team_labels(&self, kind: &str, team: TeamId) -> Labels {
        let mut labels = self.labels(kind);
        labels.insert(TEAM.to_owned(), team.to_string());
        labels
    }

    /// Labels of what goes away with a build.
    pub(super) fn build_labels(&self, plan: &BuildPlan) -> Labels {
        let mut labels = self.team_labels("build", plan.team_id);
        labels.extend(labelled([
            (OWNER, build(plan.build_id)),
            (BUILD, plan.build_id.to_string()),
            (PROJECT, plan.project_id.to_string()),
            (ENVIRONMENT, plan.environment_id.to_string()),
        ]));
        labels.extend(of_cause(plan.cause));
        labels
    }

    /// Labels of what goes away with a deployment's servers, and how one of them is known to be healthy when it is taken
    /// up again.
    pub(super) fn server_labels(&self, plan: &StartPlan, number: u8) -> Labels {
        let id = plan.deployment_id;
        let mut labels = self.team_labels("server", plan.team_id);
        labels.extend(labelled([
            (OWNER, server(id)),
            (DEPLOYMENT, id.to_string()),
            (PROJECT, plan.project_id.to_string()),
            (ENVIRONMENT, plan.environment_id.to_string()),
            (REPLICA, number.to_string()),
            (REPLICAS, plan.replicas.to_string()),
            (HEALTH, serde_json::to_string(&plan.health).unwrap_or_default()),
        ]));
        labels.extend(of_cause(plan.cause));
        let disk = plan.limits.or(Resources::SERVER).disk_mib;
        labels.extend(disk.map(|mebibytes| (DISK.to_owned(), mebibytes.to_string())));
        labels.extend(plan.port.map(|port| (PORT.to_owned(), port.to_string())));
        labels
    }

    /// A filter for objects of this platform, and of one owner if there is one.
    pub(super) fn filter(&self, owner: Option<&str>) -> HashMap<String, Vec<String>> {
        let mut wanted = vec![format!("{INSTANCE}={}", self.instance)];
        wanted.extend(owner.map(|owner| format!("{OWNER}={owner}")));
        HashMap::from([("label".to_owned(), wanted)])
    }
}

fn of_cause(Cause { event, fence }: Cause) -> Labels {
    labelled([(EVENT, event.to_string()), (FENCE, fence.to_string())])
}

fn labelled<const N: usize>(pairs: [(&str, String); N]) -> Labels {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
