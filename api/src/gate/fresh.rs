//! Credentials that were looked up a moment ago: who asks often is not looked up with each request.
//!
//! Invariant: who was answered that a right is gone finds it gone on every server. What a server reads of a credential
//! it believes for [`FRESH`] from before it read it; a command that may take a right away is answered so much later.

use std::collections::HashMap;
use std::sync::RwLock;
use std::time::{Duration, Instant};

use commands::sessions::Session;
use domain::policy::{Action, Resource};
use http::Method;
use projections::tokens::TokenRow;

use super::denied::Place;
use super::{Needs, is_unsafe};

/// For so long it is believed.
pub(super) const FRESH: Duration = Duration::from_millis(50);
/// Credentials kept at most; others are looked up.
const KEPT: usize = 10_000;

/// What is known of a credential that was valid.
#[derive(Clone, Debug)]
pub(super) enum Known {
    Session(Session),
    /// With its project; whoever made it still held what it may do.
    Token(Box<(TokenRow, Option<Place>)>),
}

/// By the hash of the secret, with the time from before it was read.
#[derive(Default)]
pub struct Fresh(RwLock<HashMap<Vec<u8>, (Instant, Known)>>);

impl Fresh {
    pub(super) fn get(&self, hash: &[u8]) -> Option<Known> {
        let known = self.0.read().expect("no holder panics");
        known.get(hash).filter(|(read, _)| read.elapsed() < FRESH).map(|(_, known)| known.clone())
    }

    /// Keeps what began to be read at that time.
    pub(super) fn keep(&self, hash: &[u8], read: Instant, it: Known) {
        let mut known = self.0.write().expect("no holder panics");
        if known.len() >= KEPT {
            known.retain(|_, (read, _)| read.elapsed() < FRESH);
        }
        if known.len() < KEPT {
            known.insert(hash.to_vec(), (read, it));
        }
    }

    /// Forgets what is believed no more.
    pub(crate) fn forget(&self) {
        self.0.write().expect("no holder panics").retain(|_, (read, _)| read.elapsed() < FRESH);
    }
}

/// Whether a command may take away what a credential stands for. One too many costs its caller a moment, one too few
/// lets a credential live for that moment: so only what is known to take nothing away is left out.
pub(super) fn may_end_a_right(needs: Needs, method: &Method) -> bool {
    let takes = match needs.right() {
        None => needs != Needs::Public,
        Some((_, Action::Create) | (Resource::Project, Action::Update)) => false,
        Some((Resource::Build | Resource::ProjectEnvVars | Resource::Audit, _)) => false,
        Some(_) => true,
    };
    takes && is_unsafe(method)
}

#[cfg(test)]
mod tests {
    use projections::tokens::TokenRow;
    use uuid::Uuid;

    use super::*;

    fn token() -> Known {
        let row = TokenRow {
            id: Uuid::nil().into(),
            user_id: None,
            project_id: None,
            name: String::new(),
            hash: String::new(),
            prefix: String::new(),
            last_four: None,
            scopes: vec![],
            ip_allowlist: vec![],
            expires_at: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            created_by: None,
            team_id: None,
            old_hash: None,
            old_until: None,
        };
        Known::Token(Box::new((row, None)))
    }

    #[test]
    fn what_was_read_long_ago_is_not_believed_and_memory_is_bounded() {
        let fresh = Fresh::default();
        let now = Instant::now();
        fresh.keep(b"old", now.checked_sub(FRESH).unwrap(), token());
        assert!(fresh.get(b"old").is_none() && fresh.get(b"unknown").is_none());
        for n in 0..2 * KEPT {
            fresh.keep(&n.to_be_bytes(), now + Duration::from_secs(60), token());
        }
        assert!(fresh.get(&0_usize.to_be_bytes()).is_some());
        assert!(fresh.0.read().unwrap().len() <= KEPT);
        assert!(!fresh.0.read().unwrap().contains_key(&b"old"[..]));
    }

    #[test]
    fn what_may_take_a_right_away_is_waited_for() {
        let post = &Method::POST;
        for needs in [
            Needs::SignedIn,
            Needs::Team(Resource::TeamMembers, Action::Update),
            Needs::TeamOrSelf(Resource::TeamMembers, Action::Delete),
            Needs::Team(Resource::Team, Action::Delete),
            Needs::Project(Resource::Project, Action::Delete),
            Needs::Project(Resource::ProjectTokens, Action::Delete),
            Needs::Project(Resource::ProjectTokens, Action::Update),
        ] {
            assert!(may_end_a_right(needs, post), "{needs:?}");
            assert!(!may_end_a_right(needs, &Method::GET), "{needs:?}");
        }
        assert!(!may_end_a_right(Needs::Project(Resource::ProjectEnvVars, Action::Update), post));
        assert!(!may_end_a_right(Needs::Build(Resource::Build, Action::Execute), post));
    }
}
