//! How far a build is with its deployment, in a few words for a git host.

use domain::build::FailureCode;
use projections::builds::BuildRow;
use projections::deployments::DeploymentRow;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It waits for its turn.
    Queued,
    /// It is worked on.
    Underway,
    /// It is built and was not to be deployed.
    Built,
    /// It serves.
    Serving,
    /// It has served.
    Served,
    /// It never served, for something newer was wanted.
    Overtaken,
    /// It does not work.
    Failed,
}

/// How far a build is, with a deployment of it when there is one, and the same for people.
pub(crate) fn of(build: &BuildRow, deployment: Option<&DeploymentRow>) -> (Stage, String) {
    let said = |stage, words: &str| (stage, words.to_owned());
    let Some(deployment) = deployment else {
        let code = name_of(build.failure.as_ref().map(|failure| failure.code));
        return match build.status.as_str() {
            "failed" => (Stage::Failed, format!("The build failed: {code}")),
            "cancelled" if build.superseded_by.is_some() => {
                said(Stage::Overtaken, "A newer build took its place")
            }
            "cancelled" => said(Stage::Overtaken, "The build was cancelled"),
            "ready" if !build.deploy => said(Stage::Built, "Built"),
            "ready" => said(Stage::Underway, "Deploying"),
            "queued" => said(Stage::Queued, "Waiting to be built"),
            _ => said(Stage::Underway, "Building"),
        };
    };
    let code = name_of(deployment.failure.as_ref().map(|failure| failure.code));
    match deployment.status.as_str() {
        "failed" => (Stage::Failed, format!("The deployment failed: {code}")),
        "rolled_back" => (Stage::Failed, format!("The deployment was rolled back: {code}")),
        "running" | "sleeping" => said(Stage::Serving, "Deployed"),
        "stopped" | "superseded" if deployment.activated_at.is_some() => said(Stage::Served, "Deployed"),
        "stopped" => said(Stage::Overtaken, "The deployment was stopped"),
        "superseded" => said(Stage::Overtaken, "A newer deployment took its place"),
        _ => said(Stage::Underway, "Deploying"),
    }
}

/// The stored name of why something failed. Its words may quote output, which is for who may read logs.
pub(crate) fn name_of(code: Option<FailureCode>) -> String {
    let code = code.and_then(|code| serde_json::to_value(code).ok());
    code.as_ref().and_then(|code| code.as_str()).unwrap_or("unknown").to_owned()
}
