//! What the router knows of every environment, by path and by label.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use domain::ids::{DeploymentId, EnvironmentId, ProjectId, TeamId};
use domain::project::Protection;
use projections::routes::RouteRow;

use super::{DEFAULT, hosts};

/// One environment.
#[derive(Debug)]
pub(super) struct Route {
    /// Its id.
    pub(super) environment: EnvironmentId,
    /// Its project.
    pub(super) project: ProjectId,
    /// Its team.
    pub(super) team: TeamId,
    /// Its label in host names, made of the slugs that it is found by.
    pub(super) label: String,
    /// Its place in the metrics: `acme/agent` and its slug.
    pub(super) name: (String, String),
    /// Who may use it.
    pub(super) protection: Protection,
    /// The deployment that sleeps or wakes up when there are no servers, and since which event.
    pub(super) asleep: Option<(DeploymentId, i64)>,
    /// Where requests go: the servers of the newest running deployment first, those of the one before in reserve.
    pub(super) servers: Vec<(DeploymentId, Vec<SocketAddr>)>,
}

/// An environment, and the part of the path that is the platform's.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) route: Arc<Route>,
    pub(super) prefix: String,
}

/// Every environment. A team's old slugs lead to it too.
#[derive(Default)]
pub(super) struct Table {
    paths: HashMap<(String, String), HashMap<String, Arc<Route>>>,
    labels: HashMap<String, Arc<Route>>,
    environments: HashMap<EnvironmentId, Arc<Route>>,
}

impl Table {
    pub(super) fn new(rows: Vec<RouteRow>) -> Self {
        let mut table = Self::default();
        for row in rows {
            let label = hosts::label(&row.team, &row.project, &row.environment);
            let parsed = row.servers.into_iter().map(|(id, addresses)| {
                let addresses = addresses.iter().filter_map(|address| address.parse().ok());
                (id, addresses.collect::<Vec<_>>())
            });
            let route = Arc::new(Route {
                environment: row.environment_id,
                project: row.project_id,
                team: row.team_id,
                label: label.clone(),
                name: (format!("{}/{}", row.team, row.project), row.environment.clone()),
                protection: row.protection,
                asleep: row.asleep,
                servers: parsed.filter(|(_, addresses)| !addresses.is_empty()).collect(),
            });
            table.labels.insert(label, route.clone());
            table.environments.insert(route.environment, route.clone());
            table.paths.entry((row.team, row.project)).or_default().insert(row.environment, route);
        }
        table
    }

    /// The environment of `/p/{team}/{project}[/{environment}]/…`.
    pub(super) fn of_path(&self, path: &str) -> Option<Target> {
        let mut segments = path.strip_prefix("/p/")?.splitn(4, '/');
        let (team, project) = (segments.next()?, segments.next()?);
        let third = segments.next();
        let environments = self.paths.get(&(team.to_owned(), project.to_owned()))?;
        let named = third.and_then(|slug| Some((slug, environments.get(slug)?)));
        let (route, prefix) = match named {
            Some((slug, route)) => (route, format!("/p/{team}/{project}/{slug}")),
            None => (environments.get(DEFAULT)?, format!("/p/{team}/{project}")),
        };
        Some(Target { route: route.clone(), prefix })
    }

    /// The environment with this label, in whatever case.
    pub(super) fn of_label(&self, label: &str) -> Option<Target> {
        let route = self.labels.get(&label.to_ascii_lowercase())?;
        Some(Target { route: route.clone(), prefix: String::new() })
    }

    /// Where every server of every deployment is.
    pub(super) fn servers(&self) -> impl Iterator<Item = (DeploymentId, SocketAddr)> {
        let each = |(id, addresses): &(DeploymentId, Vec<SocketAddr>)| {
            let id = *id;
            addresses.clone().into_iter().map(move |address| (id, address))
        };
        self.environments.values().flat_map(move |route| route.servers.iter().flat_map(each))
    }

    /// The environment with this id.
    pub(super) fn of_environment(&self, id: EnvironmentId) -> Option<Arc<Route>> {
        self.environments.get(&id).cloned()
    }
}
