//! What GitHub is shown of a repository: comments below pull requests and deployments; and what a pull request is.
//!
//! Invariant: what is made is looked for first, and is never asked for twice by one call: an answer that was lost may
//! have been a good one.

use chrono::{DateTime, Utc};
use domain::ports::git_host::{
    self as host, Comment, HostDeployment, HostError, HostPullRequest, OpenPullRequest, Page,
};
use domain::values::RepoUrl;
use http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::client::{Client, Grant, Part, Who, segments};
use super::{GitHub, MAX_DESCRIPTION, SEARCHED_PAGES};

/// A repository, through an installation.
pub(super) struct Place<'a> {
    client: &'a Client,
    name: String,
    installation: i64,
    repository: i64,
}

#[derive(Deserialize)]
struct Made {
    id: i64,
}

/// What a pull request leads from, or to.
#[derive(Deserialize)]
struct Side {
    sha: String,
    #[serde(rename = "ref")]
    branch: String,
    /// Gone when the fork is.
    repo: Option<Made>,
}

impl Side {
    fn is_foreign_to(&self, other: &Self) -> bool {
        let of = |side: &Self| side.repo.as_ref().map(|repo| repo.id);
        of(self) != of(other)
    }
}

fn odd(what: &str) -> HostError {
    HostError::Refused(format!("GitHub's pull request has an unusable {what}"))
}

impl GitHub {
    pub(super) fn place(
        &self,
        installation: i64,
        (repository, url): (i64, &RepoUrl),
    ) -> Result<Place<'_>, HostError> {
        Ok(Place { client: &self.client, name: self.full_name(url)?, installation, repository })
    }
}

impl Place<'_> {
    fn path(&self, rest: &str) -> String {
        format!("/repos/{}/{rest}", segments(&self.name))
    }

    fn who(&self, part: Part) -> Who {
        Who::Installation(self.installation, Grant::Write(self.repository, part))
    }

    pub(super) async fn pull_request(&self, number: u32) -> Result<HostPullRequest, HostError> {
        #[derive(Deserialize)]
        struct Answer {
            state: String,
            head: Side,
            base: Side,
            updated_at: DateTime<Utc>,
        }
        let path = self.path(&format!("pulls/{number}"));
        let who = Who::Installation(self.installation, Grant::PullRequests(self.repository));
        let (answer, _): (Answer, bool) = self.client.get(&path, who).await?;
        Ok(HostPullRequest {
            is_open: answer.state == "open",
            is_fork: answer.head.is_foreign_to(&answer.base),
            branch: answer.head.branch.parse().map_err(|_| odd("branch"))?,
            head: answer.head.sha.parse().map_err(|_| odd("commit"))?,
            updated_at: answer.updated_at,
        })
    }

    pub(super) async fn open_pull_requests(
        &self,
        page: Page,
    ) -> Result<host::Part<OpenPullRequest>, HostError> {
        #[derive(Deserialize)]
        struct Item {
            number: u32,
            head: Side,
            base: Side,
            updated_at: DateTime<Utc>,
        }
        let Page { number, size } = page;
        let path = self.path(&format!("pulls?state=open&per_page={size}&page={number}"));
        let who = Who::Installation(self.installation, Grant::PullRequests(self.repository));
        let (items, more): (Vec<Item>, bool) = self.client.get(&path, who).await?;
        let items = items.into_iter().map(|it| {
            Ok(OpenPullRequest {
                number: it.number,
                is_fork: it.head.is_foreign_to(&it.base),
                head: it.head.sha.parse().map_err(|_| odd("commit"))?,
                updated_at: it.updated_at,
            })
        });
        Ok(host::Part { items: items.collect::<Result<_, HostError>>()?, next: more.then_some(number + 1) })
    }

    pub(super) async fn comment(
        &self,
        number: u32,
        comment: &Comment,
        (known, app): (Option<i64>, Option<u64>),
    ) -> Result<i64, HostError> {
        let body = json!({ "body": format!("{}\n{}", comment.mark, comment.text) });
        if let Some(id) = known
            && self.edit(id, &body).await?
        {
            return Ok(id);
        }
        if let Some(id) = self.find_comment(number, &comment.mark, app).await?
            && self.edit(id, &body).await?
        {
            return Ok(id);
        }
        let path = self.path(&format!("issues/{number}/comments"));
        let made: Made = self.client.create(&path, &body, self.who(Part::PullRequests)).await?;
        Ok(made.id)
    }

    /// Whether the comment is still there.
    async fn edit(&self, id: i64, body: &Value) -> Result<bool, HostError> {
        let path = self.path(&format!("issues/comments/{id}"));
        let who = self.who(Part::PullRequests);
        let edited: Result<(IgnoredAny, bool), _> =
            self.client.call(Method::PATCH, &path, Some(body), who).await;
        match edited {
            Ok(_) => Ok(true),
            Err(HostError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The comment of this App that begins with a mark: anybody can write the mark.
    async fn find_comment(
        &self,
        number: u32,
        mark: &str,
        app: Option<u64>,
    ) -> Result<Option<i64>, HostError> {
        #[derive(Deserialize)]
        struct App {
            id: u64,
        }
        #[derive(Deserialize)]
        struct Found {
            id: i64,
            body: Option<String>,
            performed_via_github_app: Option<App>,
        }
        for page in 1..=SEARCHED_PAGES {
            let path = self.path(&format!("issues/{number}/comments?per_page=100&page={page}"));
            let (found, more): (Vec<Found>, bool) =
                self.client.get(&path, self.who(Part::PullRequests)).await?;
            let is_ours = |it: &&Found| {
                let by = it.performed_via_github_app.as_ref().map(|app| app.id);
                by == app && it.body.as_deref().is_some_and(|body| body.starts_with(mark))
            };
            if let Some(found) = found.iter().find(is_ours) {
                return Ok(Some(found.id));
            }
            if !more {
                break;
            }
        }
        Ok(None)
    }

    pub(super) async fn deployment(
        &self,
        shown: &HostDeployment,
        known: Option<i64>,
    ) -> Result<i64, HostError> {
        if let Some(id) = known {
            match self.tell_state(id, shown).await {
                Ok(()) => return Ok(id),
                // Somebody has deleted it.
                Err(HostError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let id = match self.find_deployment(shown).await? {
            Some(id) => id,
            None => {
                let body = json!({
                    "ref": shown.commit.as_str(),
                    "environment": shown.environment,
                    "auto_merge": false,
                    // It is not for GitHub to say whether it may be deployed.
                    "required_contexts": [],
                    "payload": { "build": shown.build },
                    "transient_environment": shown.is_transient,
                    "production_environment": shown.is_production,
                });
                let path = self.path("deployments");
                let made: Made = self.client.create(&path, &body, self.who(Part::Deployments)).await?;
                made.id
            }
        };
        self.tell_state(id, shown).await?;
        Ok(id)
    }

    async fn tell_state(&self, id: i64, shown: &HostDeployment) -> Result<(), HostError> {
        let mut body = json!({
            "state": shown.state,
            "description": shown.description.chars().take(MAX_DESCRIPTION).collect::<String>(),
            "log_url": shown.log_url,
            // Said by us, of each.
            "auto_inactive": false,
        });
        if let Some(url) = &shown.url {
            body["environment_url"] = url.as_str().into();
        }
        let path = self.path(&format!("deployments/{id}/statuses"));
        let who = self.who(Part::Deployments);
        let (_told, _): (IgnoredAny, bool) = self.client.call(Method::POST, &path, Some(&body), who).await?;
        Ok(())
    }

    /// The deployment of the same build.
    async fn find_deployment(&self, shown: &HostDeployment) -> Result<Option<i64>, HostError> {
        #[derive(Deserialize)]
        struct Found {
            id: i64,
            payload: Value,
        }
        let (commit, environment) = (&shown.commit, segments(&shown.environment).replace('/', "%2F"));
        let path = format!("deployments?sha={commit}&environment={environment}&per_page=100");
        let (found, _): (Vec<Found>, bool) =
            self.client.get(&self.path(&path), self.who(Part::Deployments)).await?;
        Ok(found.into_iter().find(|it| it.payload["build"] == shown.build.as_str()).map(|it| it.id))
    }
}
