//! GitHub, as an App: installations, repositories, pushes. One file speaks HTTP (`client`), one reads what GitHub sends
//! (`webhook`), one looks for Mastra apps (`detect`).

mod client;
mod detect;
mod shown;
#[cfg(test)]
mod tests;
mod webhook;

use async_trait::async_trait;
use domain::ports::git_host::{
    Comment, CommitStatus, GitHost, Headers, HostApp, HostBranch, HostDeployment, HostError, HostNews,
    HostPullRequest, HostRepository, Installation, OpenPullRequest, Page, Part as Listed, ReceiveError,
    Received, Unreadable,
};
use domain::secret::Secret;
use domain::values::{BranchName, CommitSha, RepoUrl};
use http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::sync::OnceCell;
use url::Url;

use client::{Client, Grant, Part, Who, known_name, segments};

/// As many pages of repositories are read to find one by its name.
const SEARCHED_PAGES: u32 = 50;

/// GitHub takes no longer description of a commit's status.
const MAX_DESCRIPTION: usize = 140;

/// What the operator has set about GitHub.
#[derive(Clone, Debug)]
pub struct GitHubConfig {
    /// The App's id and its private key in PEM; without them there are webhooks only.
    pub app: Option<(u64, Secret)>,
    /// What webhooks are signed with; without it there are none.
    pub webhook_secret: Option<Secret>,
    /// Client id and secret of the App: with them GitHub is asked whether who connects an installation sees all it opens.
    pub client: Option<(String, Secret)>,
    /// Where people reach GitHub: `https://github.com`.
    pub web: Url,
    /// Where programs do: `https://api.github.com`.
    pub api: Url,
}

/// GitHub.
#[derive(Debug)]
pub struct GitHub {
    config: GitHubConfig,
    client: Client,
    app: OnceCell<App>,
}

#[derive(Debug, Deserialize)]
struct Account {
    login: String,
}

/// The App itself.
#[derive(Debug, Deserialize)]
struct App {
    slug: String,
    owner: Account,
}

#[derive(Deserialize)]
struct InstallationAnswer {
    id: i64,
    account: Option<Account>,
    suspended_at: Option<String>,
}

#[derive(Deserialize)]
struct RepositoryAnswer {
    id: i64,
    full_name: String,
    #[serde(default)]
    private: bool,
    default_branch: Option<String>,
}

impl GitHub {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// The private key or an address cannot be used; the text names the setting.
    pub fn try_new(config: GitHubConfig) -> Result<Self, String> {
        let client = Client::try_new(&config)?;
        Ok(Self { config, client, app: OnceCell::new() })
    }

    /// The address of a repository as projects have it: always https, also where the operator reaches GitHub without.
    fn repo_url(&self, full_name: &str) -> Result<RepoUrl, HostError> {
        let odd = || HostError::NotFound(format!("GitHub's repository {full_name:?} has no usable address"));
        if !webhook::is_full_name(full_name) {
            return Err(odd());
        }
        webhook::repo_url(&self.config.web, full_name).map_err(|_| odd())
    }

    /// The full name of a repository of this GitHub.
    fn full_name(&self, url: &RepoUrl) -> Result<String, HostError> {
        let wrong = || {
            let web = &self.config.web;
            HostError::NotFound(format!("must be a repository of {web}, as https://…/owner/name"))
        };
        let parsed = Url::parse(url.as_str()).map_err(|_| wrong())?;
        let port = |url: &Url| url.port();
        if parsed.host() != self.config.web.host() || port(&parsed) != port(&self.config.web) {
            return Err(wrong());
        }
        let path = parsed.path().trim_matches('/');
        let name = path.strip_suffix(".git").unwrap_or(path).to_owned();
        if webhook::is_full_name(&name) { Ok(name) } else { Err(wrong()) }
    }

    fn read_repository(&self, answer: RepositoryAnswer) -> Result<HostRepository, HostError> {
        Ok(HostRepository {
            id: answer.id,
            url: self.repo_url(&answer.full_name)?,
            name: answer.full_name,
            default_branch: answer.default_branch.unwrap_or_else(|| "main".to_owned()),
            is_private: answer.private,
        })
    }

    async fn repositories_page(
        &self,
        installation: i64,
        page: Page,
    ) -> Result<Listed<HostRepository>, HostError> {
        #[derive(Deserialize)]
        struct Answer {
            repositories: Vec<RepositoryAnswer>,
        }
        let Page { number, size } = page;
        let path = format!("/installation/repositories?per_page={size}&page={number}");
        let (answer, more): (Answer, bool) =
            self.client.get(&path, Who::Installation(installation, Grant::All)).await?;
        let items = answer.repositories.into_iter().map(|it| self.read_repository(it));
        Ok(Listed { items: items.collect::<Result<_, _>>()?, next: more.then_some(number + 1) })
    }

    async fn app(&self) -> Result<&App, HostError> {
        let asked = self.app.get_or_try_init(|| async {
            let (app, _): (App, bool) = self.client.get("/app", Who::App).await?;
            Ok(app)
        });
        asked.await
    }

    /// Whether who has this code sees all that an installation opens: GitHub lists an installation also to who may read
    /// one of its repositories.
    async fn sees_all(&self, id: i64, code: &str) -> Result<bool, HostError> {
        #[derive(Deserialize)]
        struct Token {
            access_token: Option<String>,
        }
        #[derive(Deserialize)]
        struct Installations {
            installations: Vec<InstallationAnswer>,
        }
        let Some((client_id, client_secret)) = &self.config.client else { return Ok(false) };
        let secret = client_secret.expose_str().unwrap_or_default();
        let body = json!({ "client_id": client_id, "client_secret": secret, "code": code });
        let url = format!("{}/login/oauth/access_token", self.config.web.as_str().trim_end_matches('/'));
        let (token, _): (Token, bool) =
            self.client.call(Method::POST, &url, Some(&body), Who::Nobody).await?;
        let Some(token) = token.access_token.map(Secret::new) else { return Ok(false) };
        for page in 1..=SEARCHED_PAGES {
            let path = format!("/user/installations?per_page=100&page={page}");
            let (found, more): (Installations, bool) =
                self.client.get(&path, Who::Bearer(token.clone())).await?;
            if found.installations.iter().any(|installation| installation.id == id) {
                let path = format!("/user/installations/{id}/repositories?per_page=1");
                let seen = self.count(&path, Who::Bearer(token)).await?;
                let path = "/installation/repositories?per_page=1";
                return Ok(seen >= self.count(path, Who::Installation(id, Grant::All)).await?);
            }
            if !more {
                break;
            }
        }
        Ok(false)
    }

    /// How many repositories there are in a list.
    async fn count(&self, path: &str, who: Who) -> Result<u64, HostError> {
        #[derive(Deserialize)]
        struct Counted {
            total_count: u64,
        }
        let (counted, _): (Counted, bool) = self.client.get(path, who).await?;
        Ok(counted.total_count)
    }
}

#[async_trait]
impl GitHost for GitHub {
    fn id(&self) -> &'static str {
        "github"
    }

    fn receive(&self, header: &Headers<'_>, body: &[u8]) -> Result<Received, ReceiveError> {
        webhook::receive(self.config.webhook_secret.as_ref(), header, body)
    }

    fn read(&self, kind: &str, body: &[u8]) -> Result<HostNews, Unreadable> {
        webhook::read(&self.config.web, kind, body)
    }

    fn tell(&self, told: &Received) -> Vec<u8> {
        webhook::tell(told)
    }

    async fn install_url(&self, state: &str) -> Result<String, HostError> {
        let slug = &self.app().await?.slug;
        // GitHub Enterprise Server has another path for the same page.
        let apps = if self.config.web.host_str() == Some("github.com") { "apps" } else { "github-apps" };
        let web = self.config.web.as_str().trim_end_matches('/');
        Ok(format!("{web}/{apps}/{}/installations/new?state={state}", segments(slug)))
    }

    async fn installation(&self, id: i64, code: Option<&str>) -> Result<Installation, HostError> {
        let unknown = || HostError::NotFound("GitHub knows no such installation of this App".to_owned());
        if self.proves_people() {
            let code = code.ok_or_else(|| {
                HostError::Refused(
                    "GitHub sent no code: the App must ask for authorization during installation".to_owned(),
                )
            })?;
            if !self.sees_all(id, code).await? {
                let why =
                    "GitHub says that this is not your installation, or that you do not see all it opens";
                return Err(HostError::Refused(why.to_owned()));
            }
        }
        let installation = self.installation_now(id).await?.ok_or_else(unknown)?;
        // Nobody says whose it is: then it must be of the account whose App this is.
        if !self.proves_people() && installation.account != self.app().await?.owner.login {
            let why = "This is no installation of the account that the App belongs to, and GitHub does not say whose \
                       it is without the App's client secret";
            return Err(HostError::Refused(why.to_owned()));
        }
        Ok(installation)
    }

    async fn installation_now(&self, id: i64) -> Result<Option<Installation>, HostError> {
        let found = self.client.get(&format!("/app/installations/{id}"), Who::App).await;
        let (answer, _): (InstallationAnswer, bool) = match found {
            Err(HostError::NotFound(_)) => return Ok(None),
            found => found?,
        };
        Ok(Some(Installation {
            id: answer.id,
            account: answer.account.map(|account| account.login).unwrap_or_default(),
            is_suspended: answer.suspended_at.is_some(),
        }))
    }

    fn proves_people(&self) -> bool {
        self.config.client.is_some()
    }

    async fn repositories(
        &self,
        installation: i64,
        search: &str,
        page: Page,
    ) -> Result<Listed<HostRepository>, HostError> {
        if search.is_empty() {
            return self.repositories_page(installation, page).await;
        }
        // GitHub does not search among what an installation opens.
        let (mut found, search) = (Vec::new(), search.to_lowercase());
        for number in 1..=SEARCHED_PAGES {
            let part = self.repositories_page(installation, Page { number, size: 100 }).await?;
            found.extend(part.items.into_iter().filter(|it| it.name.to_lowercase().contains(&search)));
            if part.next.is_none() {
                break;
            }
        }
        let (size, before) = (usize::from(page.size), page.number.saturating_sub(1) as usize);
        let more = found.len() > size * (before + 1);
        let items = found.into_iter().skip(size * before).take(size).collect();
        Ok(Listed { items, next: more.then_some(page.number + 1) })
    }

    async fn repository(&self, installation: i64, url: &RepoUrl) -> Result<HostRepository, HostError> {
        let name = self.full_name(url)?;
        let who = Who::Installation(installation, Grant::All);
        let (answer, _): (RepositoryAnswer, bool) =
            self.client.get(&format!("/repos/{}", segments(&name)), who).await?;
        let repository = self.read_repository(answer)?;
        // Public repositories of others are shown to everybody, and are not this installation's.
        let listed = self.repositories(installation, &repository.name, Page { number: 1, size: 100 }).await?;
        if listed.items.iter().any(|it| it.id == repository.id) {
            return Ok(repository);
        }
        Err(HostError::NotFound(format!("the installation does not open {name}")))
    }

    async fn branches(
        &self,
        installation: i64,
        name: &str,
        page: Page,
    ) -> Result<Listed<HostBranch>, HostError> {
        #[derive(Deserialize)]
        struct Commit {
            sha: String,
        }
        #[derive(Deserialize)]
        struct Branch {
            name: String,
            commit: Commit,
        }
        let Page { number, size } = page;
        let path = format!("/repos/{}/branches?per_page={size}&page={number}", known_name(name)?);
        let (found, more): (Vec<Branch>, bool) =
            self.client.get(&path, Who::Installation(installation, Grant::All)).await?;
        let branch = |it: Branch| HostBranch { name: it.name, commit: it.commit.sha };
        Ok(Listed { items: found.into_iter().map(branch).collect(), next: more.then_some(number + 1) })
    }

    async fn apps(
        &self,
        installation: i64,
        name: &str,
        branch: Option<&BranchName>,
    ) -> Result<Vec<HostApp>, HostError> {
        detect::apps(&self.client, installation, &known_name(name)?, branch).await
    }

    async fn show(
        &self,
        installation: i64,
        (repository, url): (i64, &RepoUrl),
        commit: &CommitSha,
        status: &CommitStatus,
    ) -> Result<(), HostError> {
        let path = format!("/repos/{}/statuses/{commit}", segments(&self.full_name(url)?));
        let body = json!({
            "state": status.state,
            "context": status.context,
            "description": status.description.chars().take(MAX_DESCRIPTION).collect::<String>(),
            "target_url": status.url,
        });
        let who = Who::Installation(installation, Grant::Write(repository, Part::Statuses));
        let (_shown, _): (IgnoredAny, bool) = self.client.call(Method::POST, &path, Some(&body), who).await?;
        Ok(())
    }

    async fn pull_request(
        &self,
        installation: i64,
        repository: (i64, &RepoUrl),
        number: u32,
    ) -> Result<HostPullRequest, HostError> {
        self.place(installation, repository)?.pull_request(number).await
    }

    async fn open_pull_requests(
        &self,
        installation: i64,
        repository: (i64, &RepoUrl),
        page: Page,
    ) -> Result<Listed<OpenPullRequest>, HostError> {
        self.place(installation, repository)?.open_pull_requests(page).await
    }

    async fn comment(
        &self,
        installation: i64,
        repository: (i64, &RepoUrl),
        number: u32,
        comment: &Comment,
        known: Option<i64>,
    ) -> Result<i64, HostError> {
        let app = self.config.app.as_ref().map(|(id, _)| *id);
        self.place(installation, repository)?.comment(number, comment, (known, app)).await
    }

    async fn show_deployment(
        &self,
        installation: i64,
        repository: (i64, &RepoUrl),
        deployment: &HostDeployment,
        known: Option<i64>,
    ) -> Result<i64, HostError> {
        self.place(installation, repository)?.deployment(deployment, known).await
    }

    async fn token(&self, installation: i64, repository: i64) -> Result<Secret, HostError> {
        self.client.token(installation, Grant::Read(repository)).await
    }
}
