//! How a build or a deployment ended, in words for people. Names are text and nothing else wherever they are shown.

use domain::build::FailureCode;
use domain::ids::{BuildId, DeploymentId, EnvironmentId, ProjectId};
use projections::log;
use projections::outbox::Message;
use serde_json::{Value, json};

use crate::letter::Letter;
use crate::progress::name_of;
use crate::{JobError, World};

/// What is told.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    /// In one line.
    title: String,
    /// What else is known: name and value.
    facts: Vec<(&'static str, String)>,
    /// Where there is more.
    url: Option<String>,
}

/// What a message tells; none when what it is about is not there any more.
pub(super) async fn told(world: &World, message: &Message) -> Result<Option<Told>, JobError> {
    let Some(event) = log::find(&world.pool, message.event).await? else { return Ok(None) };
    let id = event.aggregate_id.parse::<uuid::Uuid>().map_err(|error| JobError::Never(error.to_string()))?;
    match message.event_type.as_str() {
        "endpoint.pinged" => Ok(Some(Told {
            title: "This is a test: results of builds and deployments arrive here".to_owned(),
            facts: vec![],
            url: Some(world.public_url.clone()),
        })),
        "build.succeeded" => of_build(world, id.into(), "Built").await,
        "build.failed" => of_build(world, id.into(), "The build failed").await,
        "deployment.activated" => of_deployment(world, id.into(), "Deployed").await,
        "deployment.failed" => of_deployment(world, id.into(), "The deployment failed").await,
        "deployment.rolled_back" => of_deployment(world, id.into(), "The deployment was rolled back").await,
        _ => Ok(None),
    }
}

async fn of_build(world: &World, id: BuildId, what: &str) -> Result<Option<Told>, JobError> {
    let Some(build) = projections::builds::find(&world.pool, id).await? else { return Ok(None) };
    let why = build.failure.as_ref().map(|failure| failure.code);
    let Some(mut told) = about(world, (build.project_id, build.environment_id), what, why).await? else {
        return Ok(None);
    };
    told.add_code(build.known_branch(), build.commit.as_deref());
    told.url = Some(format!("{}/api/v1/builds/{id}", world.public_url));
    Ok(Some(told))
}

async fn of_deployment(world: &World, id: DeploymentId, what: &str) -> Result<Option<Told>, JobError> {
    let Some(deployment) = projections::deployments::find(&world.pool, id).await? else { return Ok(None) };
    let why = deployment.failure.as_ref().map(|failure| failure.code);
    let place = (deployment.project_id, deployment.environment_id);
    let Some(mut told) = about(world, place, what, why).await? else { return Ok(None) };
    if let Some(build) = projections::builds::find(&world.pool, deployment.build_id).await? {
        told.add_code(build.known_branch(), build.commit.as_deref());
    }
    told.url = Some(format!("{}/api/v1/deployments/{id}", world.public_url));
    Ok(Some(told))
}

async fn about(
    world: &World,
    (project, environment): (ProjectId, EnvironmentId),
    what: &str,
    why: Option<FailureCode>,
) -> Result<Option<Told>, JobError> {
    let Some(project) = projections::projects::find(&world.pool, project).await? else { return Ok(None) };
    let environment = projections::projects::find_environment(&world.pool, environment).await?;
    let place = match environment {
        Some(row) => format!("{} ({})", project.settings.name, row.environment.name),
        None => project.settings.name.to_string(),
    };
    let facts = why.map(|code| ("Why", name_of(Some(code)))).into_iter().collect();
    Ok(Some(Told { title: format!("{what}: {place}"), facts, url: None }))
}

impl Told {
    fn add_code(&mut self, branch: Option<String>, commit: Option<&str>) {
        self.facts.extend(branch.map(|branch| ("Branch", branch)));
        self.facts.extend(commit.map(|commit| ("Commit", commit.chars().take(12).collect())));
    }

    /// Text for where nothing else is shown, and blocks.
    pub(super) fn for_slack(&self) -> Value {
        let facts = self.facts.iter().map(|(name, value)| format!("*{name}:* {}", escaped(value)));
        let link = self.url.iter().map(|url| format!("<{}|More>", escaped(url)));
        let mut blocks = vec![section(format!("*{}*", escaped(&self.title)))];
        let more: Vec<String> = facts.chain(link).collect();
        if !more.is_empty() {
            blocks.push(section(more.join("\n")));
        }
        json!({ "text": escaped(&self.title), "blocks": blocks })
    }

    pub(super) fn as_letter(&self) -> Letter {
        let mut letter = Letter::new(self.title.clone()).say(format!("{}.", self.title));
        if !self.facts.is_empty() {
            let facts: Vec<String> =
                self.facts.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            letter = letter.say(facts.join("\n"));
        }
        match &self.url {
            Some(url) => letter.say(url.clone()),
            None => letter,
        }
    }
}

fn section(text: String) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })
}

/// Text that is no mention, no link and no formatting to Slack.
fn escaped(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => all.push_str("&amp;"),
            '<' => all.push_str("&lt;"),
            '>' => all.push_str("&gt;"),
            // A zero width space keeps them from opening anything.
            '*' | '_' | '~' | '`' => all.extend(['\u{200b}', c, '\u{200b}']),
            c if c.is_control() => all.push(' '),
            c => all.push(c),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_neither_mentions_nor_links_in_slack() {
        let told = Told {
            title: "Built: <!channel> & co".to_owned(),
            facts: vec![("Branch", "<https://evil.example|main>".to_owned())],
            url: Some("https://here.example/b/1".to_owned()),
        };
        let said = told.for_slack();
        assert_eq!(said["text"], "Built: &lt;!channel&gt; &amp; co");
        let more = said["blocks"][1]["text"]["text"].as_str().unwrap();
        assert_eq!(
            more, "*Branch:* &lt;https://evil.example|main&gt;\n<https://here.example/b/1|More>",
            "{said}"
        );
    }
}
