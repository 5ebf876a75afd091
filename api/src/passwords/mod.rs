//! Passwords: what is refused as one, and how one is kept and compared.

use std::sync::{Arc, LazyLock};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use domain::secret::Secret;
use tokio::sync::Semaphore;

use crate::error::{ApiError, Problem};

/// Lengths in characters.
const MIN: usize = 10;
const MAX: usize = 1024;
/// Memory in KiB, passes and lanes as OWASP recommends for argon2id.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Hashes at a time: each takes a core and 19 MiB.
const AT_ONCE: usize = 2;

/// What people choose first, all of ten characters or more.
const COMMON: &str = include_str!("common.txt");

/// Hashes and compares, a few at a time.
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

/// Refuses what is no password. `field` is its name in the input.
pub(crate) fn check(password: &Secret, email: &str, field: &'static str) -> Result<(), Problem> {
    let refuse = |code, message: String| Err(Problem::invalid(field, code, message));
    let Some(text) = password.expose_str() else { return refuse("invalid", "must be a text".to_owned()) };
    if !(MIN..=MAX).contains(&text.chars().count()) {
        return refuse("length", format!("must have {MIN} to {MAX} characters"));
    }
    let lower = text.to_lowercase();
    let monotonous = text.chars().all(|c| text.starts_with(c));
    if monotonous || lower == email.to_lowercase() || COMMON.lines().any(|common| common == lower) {
        return refuse("too_common", "is one of the first that anybody would try".to_owned());
    }
    Ok(())
}

impl Passwords {
    /// What is kept of a password: a PHC string.
    pub(crate) async fn hash(&self, password: Secret) -> Result<String, ApiError> {
        self.run(move || Ok(argon2().hash_password(password.expose())?.to_string())).await
    }

    /// Whether this is the password. Without a hash (nobody has such an account) it takes as long and is none.
    pub(crate) async fn verify(&self, password: Secret, hash: Option<String>) -> Result<bool, ApiError> {
        self.run(move || {
            let known = hash.is_some();
            let hash = hash.as_deref().unwrap_or(&NOBODY);
            let right = argon2().verify_password(password.expose(), &PasswordHash::new(hash)?).is_ok();
            Ok(right && known)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, argon2::password_hash::Error> + Send + 'static,
    ) -> Result<T, ApiError> {
        let _turn = self.turns.acquire().await.map_err(|error| Problem::internal(error.into()))?;
        let done =
            tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(error.into()))?;
        done.map_err(|error| Problem::internal(error.to_string().into()).into())
    }
}

/// The hash of a password that nobody has.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    let mut password = [0; 32];
    getrandom::fill(&mut password).expect("the operating system has random bytes");
    argon2().hash_password(&password).expect("32 bytes can be hashed").to_string()
});

fn argon2() -> Argon2<'static> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).expect("the cost is within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<&'static str> {
        check(&Secret::new(text), "ann@example.org", "password").err().map(|problem| problem.errors()[0].code)
    }

    #[test]
    fn what_everybody_tries_first_is_no_password() {
        assert_eq!(refused("short"), Some("length"));
        assert_eq!(refused(&"x".repeat(1025)), Some("length"));
        assert_eq!(refused("Password123"), Some("too_common"));
        assert_eq!(refused("1234567890"), Some("too_common"));
        assert_eq!(refused("aaaaaaaaaaaa"), Some("too_common"));
        assert_eq!(refused("Ann@Example.org"), Some("too_common"));
        assert_eq!(refused("correct horse battery staple"), None);
        assert_eq!(refused("pässwörter sind lang"), None);
    }

    #[test]
    fn the_list_has_only_what_would_pass_otherwise() {
        for line in COMMON.lines() {
            assert!(line.chars().count() >= MIN && line == line.to_lowercase(), "{line}");
        }
    }

    #[tokio::test]
    async fn only_the_password_is_the_password() {
        let passwords = Passwords::default();
        let hash = passwords.hash(Secret::new("right one, really")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify(Secret::new("right one, really"), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify(Secret::new("wrong one, really"), Some(hash)).await.unwrap());
        assert!(!passwords.verify(Secret::new("right one, really"), None).await.unwrap());
    }
}
