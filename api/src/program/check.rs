//! `mastra-admin check`: whether everything that `serve` needs is there.

use std::path::Path;

use anyhow::bail;
use providers::database::embedded::{Embedded, EmbeddedConfig};

use super::config::Config;

/// Says what is there and what is missing; fails when something is.
#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
pub(crate) async fn check(config: Config) -> anyhow::Result<()> {
    let mut missing = 0;
    for (program, what) in
        [("git", "reads repositories"), ("bwrap", "runs builds and servers apart"), ("npm", "installs")]
    {
        let found = on_path(program);
        missing += i32::from(!found);
        println!("{} {program}: {what}", if found { "ok     " } else { "MISSING" });
    }
    let database = match &config.secrets.database_url {
        Some(url) => projections::pool::connect(url.expose_str().unwrap_or_default(), 1)
            .await
            .map(drop)
            .map_err(Into::into),
        None => embedded(&config).await,
    };
    match database {
        Ok(()) => println!("ok      database"),
        Err(error) => {
            missing += 1;
            println!("MISSING database: {error:#}");
        }
    }
    match providers::auth::open(&config.auth_providers, config.secrets.auth.0.clone()) {
        Ok(providers) => println!("ok      sign-in providers: {}", providers.len()),
        Err(error) => {
            missing += 1;
            println!("MISSING sign-in providers: {error}");
        }
    }
    match super::serve::email(&config) {
        Ok(_) => println!("ok      mail settings"),
        Err(error) => {
            missing += 1;
            println!("MISSING mail settings: {error:#}");
        }
    }
    if missing > 0 {
        bail!("{missing} of the things that `serve` needs are missing");
    }
    Ok(())
}

/// Starts the embedded server and stops it again.
async fn embedded(config: &Config) -> anyhow::Result<()> {
    let (data_dir, bin_dir) = (config.data_dir.clone(), config.postgres_bin.clone());
    Embedded::start(EmbeddedConfig { data_dir, bin_dir, durable: true }).await?.stop().await;
    Ok(())
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}
