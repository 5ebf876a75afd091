//! Few values of each kind, so that commands meet.

use std::fmt::Debug;
use std::str::FromStr;

use domain::ids::SecretId;
use domain::project::{Forks, Previews, ProjectSettings};
use domain::sealed::{KeyOwner, Sealed};
use proptest::prelude::*;
use uuid::Uuid;

/// The id of this number.
pub(crate) fn id<T: From<Uuid>>(number: u128) -> T {
    Uuid::from_u128(number).into()
}

/// One of the first ids.
pub(crate) fn ids<T: From<Uuid> + Debug>(count: u128) -> impl Strategy<Value = T> {
    (1..=count).prop_map(id)
}

/// A value that is known to be good.
pub(crate) fn good<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// One of these texts as a value.
pub(crate) fn texts<T: FromStr<Err: Debug> + Debug>(
    texts: &'static [&'static str],
) -> impl Strategy<Value = T> {
    prop::sample::select(texts).prop_map(good)
}

/// One of two values in one of three sealings.
pub(crate) fn sealings(key: KeyOwner) -> impl Strategy<Value = Sealed> {
    (ids::<SecretId>(3), prop::sample::select(&["a", "b"][..])).prop_map(move |(id, value)| Sealed {
        id,
        key,
        data: "AAAA".to_owned(),
        mark: value.to_owned(),
    })
}

/// Settings of a project that differ in what the others are judged by.
pub(crate) fn settings() -> impl Strategy<Value = Box<ProjectSettings>> {
    let previews = prop::option::of(any::<bool>());
    (texts(&["Agent", "Bot"]), texts(&["agent", "bot"]), prop::option::of(Just(4111u16)), previews).prop_map(
        |(name, slug, port, secrets)| {
            Box::new(ProjectSettings {
                name,
                slug,
                repo_url: Some(good("https://example.org/agent.git")),
                branch: good("main"),
                project_root: good("."),
                mastra_directory: good("src/mastra"),
                install_command: None,
                build_command: None,
                port,
                min_scale: None,
                health: None,
                resources: Default::default(),
                installation_id: None,
                repository_id: None,
                watch_paths: vec![],
                previews: secrets.map(|production_secrets| Previews {
                    ttl_hours: 1,
                    forks: Forks::OnApproval,
                    production_secrets,
                }),
                telemetry_days: None,
                telemetry_rows: None,
            })
        },
    )
}
