//! What happens to an account that its owner should hear of → a mail to him.
//!
//! A sign-in is told when this person was never seen in that network with that program before. Of the first sign-in of
//! all nothing is told: who has just made an account knows.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use commands::VaultError;
use domain::fact::{Fact, Recorded};
use domain::ids::UserId;
use domain::sealed::{KeyOwner, purpose};
use domain::user::UserEvent;
use projections::known_places;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use crate::letter::{Letter, MAIL_TRIES};
use crate::{Due, Job, JobError, Process, Work, World};

/// What is older is no news: it is not told by a server that hears of it only now.
const NEWS: TimeDelta = TimeDelta::days(2);

/// Tells people what happened to their accounts.
pub(crate) struct NotifyPerson;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payload {
    user_id: UserId,
    at: DateTime<Utc>,
    notice: Notice,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Notice {
    /// Address and program as the envelope has them, sealed.
    SignedIn {
        source_ip: Option<String>,
        user_agent: Option<String>,
    },
    PasswordChanged,
    SecondFactorOn,
    SecondFactorOff,
    RecoveryCodeUsed {
        left: u32,
    },
}

#[async_trait]
impl Process for NotifyPerson {
    fn name(&self) -> &'static str {
        "notify_person"
    }

    fn concurrency(&self) -> usize {
        2
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::User(user_id, event) = fact else { return None };
        let notice = match event {
            UserEvent::UserSignedIn { .. } => {
                let envelope = recorded.envelope();
                let (source_ip, user_agent) = (envelope.source_ip.clone(), envelope.user_agent.clone());
                Notice::SignedIn { source_ip, user_agent }
            }
            UserEvent::UserPasswordChanged {} => Notice::PasswordChanged,
            UserEvent::UserSecondFactorEnabled {} => Notice::SecondFactorOn,
            UserEvent::UserSecondFactorDisabled {} => Notice::SecondFactorOff,
            UserEvent::UserRecoveryCodeUsed { left } => Notice::RecoveryCodeUsed { left: *left },
            _ => return None,
        };
        Some(Job {
            key: format!("{user_id}/{}", recorded.position),
            // In their order: which sign-in was the first decides what is told.
            lane: format!("notify_person:{user_id}"),
            payload: serde_json::to_value(Payload { user_id: *user_id, at: recorded.at, notice })
                .expect("it serialises"),
            due: Due::AtOnce,
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { user_id, at, notice } = work.payload()?;
        world.caught_up(work).await?;
        let letter = match written(work, world, user_id, notice).await {
            Err(Missing::Person) | Ok(None) => return Ok(()),
            Err(Missing::Now(error)) => return Err(error),
            Ok(Some(letter)) => letter,
        };
        if (world.now)() - at > NEWS {
            return Ok(());
        }
        let Some(user) = projections::users::find(&world.pool, user_id).await? else { return Ok(()) };
        let to = match world.commands.vault().open_text(&user.email, purpose::USER_EMAIL).await {
            Err(VaultError::Erased) => return Ok(()),
            to => to?,
        };
        if to.is_empty() {
            return Ok(());
        }
        Ok(world.email.send(&letter.to(to, work, "notice")).await?)
    }

    fn tries(&self) -> i32 {
        MAIL_TRIES
    }
}

/// Why nothing could be written.
enum Missing {
    /// He was erased.
    Person,
    Now(JobError),
}

impl From<VaultError> for Missing {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Erased => Self::Person,
            error => Self::Now(error.into()),
        }
    }
}

/// What is said of it, when something is.
async fn written(
    work: &Work,
    world: &World,
    user_id: UserId,
    notice: Notice,
) -> Result<Option<Letter>, Missing> {
    let url = &world.public_url;
    let about = |what: &str| Letter::new(what.to_owned()).say(format!("On {url}: {what}."));
    let letter = match notice {
        Notice::PasswordChanged => about("Your password was changed")
            .say("All your other sessions have ended. If it was not you, let an owner of your team know."),
        Notice::SecondFactorOn => about("A second factor is asked for when you sign in"),
        Notice::SecondFactorOff => about("No second factor is asked for any more when you sign in")
            .say("If it was not you, change your password and end all sessions."),
        Notice::RecoveryCodeUsed { left } => about("A recovery code was used to sign in to your account")
            .say(format!("There are {left} left. If it was not you, change your password.")),
        Notice::SignedIn { source_ip, user_agent } => {
            let ip = opened(work, world, user_id, "source_ip", source_ip).await?;
            let agent = opened(work, world, user_id, "user_agent", user_agent).await?;
            let place = format!("{user_id}|{}|{agent}", network(&ip));
            let mark = world.commands.vault().fingerprint(purpose::PLACE, &place).await?;
            let event = work.claimed.cause_event;
            let seen = known_places::see(&world.pool, user_id, &mark, event, (world.now)()).await;
            if !seen.map_err(|error| Missing::Now(error.into()))?.is_news() {
                return Ok(None);
            }
            about("Somebody signed in to your account from a new place")
                .say(format!("Address: {}\nProgram: {}", one_line(&ip), one_line(&agent)))
                .say("If it was not you, change your password: this ends all other sessions.")
        }
    };
    Ok(Some(letter))
}

async fn opened(
    work: &Work,
    world: &World,
    user_id: UserId,
    field: &str,
    sealed: Option<String>,
) -> Result<String, VaultError> {
    let Some(sealed) = sealed else { return Ok(String::new()) };
    let note = format!("{}|{field}", work.claimed.cause_event);
    let plain = world.commands.vault().open_note(KeyOwner::User(user_id), &note, &sealed).await?;
    Ok(plain.unwrap_or_default())
}

/// The network of an address: providers give their customers another address every day.
fn network(ip: &str) -> String {
    match ip.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => format!("{}/24", ip.octets().map(|byte| byte.to_string())[..3].join(".")),
        Ok(IpAddr::V6(ip)) => {
            let [a, b, c, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}/48")
        }
        Err(_) => String::new(),
    }
}

/// What somebody else has sent: one line, not too long.
fn one_line(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_place() {
        assert_eq!(network("192.0.2.7"), network("192.0.2.200"));
        assert_ne!(network("192.0.2.7"), network("192.0.3.7"));
        assert_eq!(network("::ffff:192.0.2.7"), network("192.0.2.1"));
        assert_eq!(network("2001:db8:1::1"), network("2001:db8:1:ffff::2"));
        assert_eq!(network("nowhere"), "");
    }
}
