//! Webhooks of a project's own. A delivery is proved in one file (`proof`) and read in another (`payload`): who signs
//! has nothing to do with what is told, for GitLab signs as Standard Webhooks say when it is given a signing token.

mod payload;
mod proof;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use domain::ports::git_host::{Headers, HostNews, ReceiveError, Received, Unreadable};
use domain::ports::push_hooks::PushHooks;
use domain::secret::Secret;
use serde_json::{Value, json};

/// What every secret begins with; what follows is base64 of the key that Standard Webhooks sign with. To hosts that know
/// nothing of that, all of it is the secret.
const PREFIX: &str = "whsec_";

/// Who tells, by the headers that its deliveries have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    GitLab,
    Gitea,
    /// Our own: a branch and a commit.
    Webhook,
}

/// The deliveries of every kind of host.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyHost;

impl Form {
    fn of(header: &Headers<'_>) -> Self {
        if header("x-gitlab-event").is_some() {
            Self::GitLab
        } else if header("x-gitea-event").is_some() {
            Self::Gitea
        } else {
            Self::Webhook
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::GitLab => "gitlab",
            Self::Gitea => "gitea",
            Self::Webhook => "webhook",
        }
    }

    /// What happened, in one word for all hosts.
    fn kind(self, header: &Headers<'_>) -> String {
        let named = match self {
            Self::GitLab => header("x-gitlab-event").unwrap_or_default(),
            Self::Gitea => header("x-gitea-event").unwrap_or_default(),
            Self::Webhook => "push".to_owned(),
        };
        match named.as_str() {
            "Push Hook" | "Tag Push Hook" => "push".to_owned(),
            other => {
                let word: String = other.trim_end_matches(" Hook").to_ascii_lowercase().replace(' ', "_");
                let good = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                word.chars().filter(good).take(64).collect()
            }
        }
    }
}

impl PushHooks for AnyHost {
    fn receive(
        &self,
        secrets: &[Secret],
        header: &Headers<'_>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(&'static str, Received), ReceiveError> {
        let id = proof::prove(secrets, header, body, now)?;
        let malformed = |field: &str, why: &str| ReceiveError::Malformed(Unreadable::new(field, why));
        if !(1..=200).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed("id", "must be the id of the delivery, in a header of the sender's kind"));
        }
        let form = Form::of(header);
        let payload: Value = serde_json::from_slice(body)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| malformed("body", "must be a JSON object, sent as application/json"))?;
        let told = Received { id, kind: form.kind(header), ..payload::told(form, &payload) };
        Ok((form.name(), told))
    }

    fn read(&self, form: &str, kind: &str, body: &[u8]) -> Result<HostNews, Unreadable> {
        if kind != "push" {
            return Ok(HostNews::Other);
        }
        let payload: Value = serde_json::from_slice(body)
            .map_err(|error| Unreadable::new("body", format!("is no JSON: {error}")))?;
        let push = match form {
            "gitlab" => payload::gitlab(&payload)?,
            "gitea" => payload::gitea(&payload)?,
            _ => payload::webhook(&payload)?,
        };
        Ok(HostNews::Push(push))
    }

    fn tell(&self, told: &Received) -> (&'static str, Vec<u8>) {
        let branch = told.reference.as_deref().map(|name| name.trim_start_matches("refs/heads/"));
        let body = json!({ "branch": branch, "commitSha": told.commit });
        (Form::Webhook.name(), body.to_string().into_bytes())
    }

    fn secret(&self, random: &Secret) -> Secret {
        let random = random.expose();
        // 30 bytes fill 40 digits: nothing is left over at the end, of which lists show four.
        Secret::new(format!("{PREFIX}{}", STANDARD.encode(&random[..random.len().min(30)])))
    }
}
