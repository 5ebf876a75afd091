//! Passwords: what is accepted, how they are hashed and checked.

use std::sync::LazyLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::error::ApiError;

/// Hashing takes 19 MiB and a core each: more at once would be a way to stop the server.
static SLOTS: Semaphore = Semaphore::const_new(2);

/// A hash that no password has; checked for accounts that do not exist, so that they take as long as others.
static NOBODY: LazyLock<String> = LazyLock::new(|| compute("no password at all").expect("it hashes"));

/// What people choose first, all of ten characters or more, one a line: ours, and those of the twenty thousand that
/// Django ships (BSD-3-Clause; Royce Williams made them of what was breached).
const COMMON: &str = include_str!("common_passwords.txt");

/// Refuses what is too short, too long, or what everybody tries first.
pub fn check(field: &str, password: &str) -> Result<(), ApiError> {
    if !(10..=1024).contains(&password.chars().count()) {
        return Err(ApiError::field(field, "length", "must have 10 to 1024 characters"));
    }
    let lower = password.to_lowercase();
    let first = lower.chars().next();
    if COMMON.lines().any(|common| common == lower) || lower.chars().all(|c| Some(c) == first) {
        return Err(ApiError::field(field, "too_common", "is one of the passwords that are tried first"));
    }
    Ok(())
}

/// Hashes a password (argon2id, 19 MiB, 2 passes: OWASP's recommendation) into a PHC string.
pub async fn hash(password: String) -> Result<String, ApiError> {
    let _slot = SLOTS.acquire().await.expect("nobody closes it");
    let hashed = tokio::task::spawn_blocking(move || compute(&password)).await;
    hashed.map_err(|error| ApiError::internal(&error))?.map_err(|error| ApiError::internal(&error))
}

/// Whether this is the password of the hash. Without a hash it takes as long and is `false`.
pub(crate) async fn matches(password: String, hash: Option<String>) -> Result<bool, ApiError> {
    let _slot = SLOTS.acquire().await.expect("nobody closes it");
    let known = hash.is_some();
    let checked = tokio::task::spawn_blocking(move || {
        let hash = hash.unwrap_or_else(|| NOBODY.clone());
        PasswordHash::new(&hash)
            .is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
    });
    Ok(checked.await.map_err(|error| ApiError::internal(&error))? && known)
}

fn compute(password: &str) -> Result<String, argon2::password_hash::Error> {
    Ok(argon2().hash_password(password.as_bytes())?.to_string())
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("the recommended parameters");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_common_passwords_are_refused() {
        for bad in ["", "short", "Password123", "aaaaaaaaaaaa", &"x".repeat(1025)] {
            assert!(check("password", bad).is_err(), "{bad}");
        }
        assert!(check("password", "correct horse battery staple").is_ok());
    }

    #[test]
    fn the_list_has_only_what_would_be_accepted_otherwise() {
        for line in COMMON.lines() {
            assert!(line.chars().count() >= 10 && line == line.to_lowercase(), "{line}");
        }
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let hash = hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(matches("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!matches("wrong horse".into(), Some(hash)).await.unwrap());
        assert!(!matches("no password at all".into(), None).await.unwrap());
    }
}
