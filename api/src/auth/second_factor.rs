//! `POST /auth/totp`, `POST /auth/totp/confirm`, `DELETE /auth/totp` — a second factor beside the password: codes of an
//! authenticator (RFC 6238), and recovery codes for when it is lost.

use std::sync::Arc;

use axum::extract::State;
use commands::second_factors::{self, SecondFactor};
use commands::{Vault, credentials};
use domain::access::SignInFailure;
use domain::ids::UserId;
use domain::sealed::{KeyOwner, purpose};
use domain::user::UserCommand;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use totp_rs::{Algorithm, TOTP};

use crate::auth::failure::{self, Account};
use crate::auth::token::sha256;
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::{Caller, Principal};
use crate::platform::Platform;
use crate::reply::Done;

/// Seconds that a code holds.
const STEP: u64 = 30;
/// Recovery codes that are given.
const RECOVERY_CODES: usize = 10;
/// Random bytes of a secret, and of a recovery code.
const SECRET_BYTES: usize = 20;
const RECOVERY_BYTES: usize = 10;
/// What the seal of the secret is bound to.
const SEAL: &str = "second factor";

/// A code of the authenticator; where one is taken away, a recovery code does too.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Code {
    code: String,
}

/// Makes a secret. It is not asked for before it is confirmed.
pub(crate) async fn propose(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
) -> Result<axum::Json<Value>, ApiError> {
    let user = signed_in(&caller)?;
    if credentials::password(&platform.pool, user).await?.is_none() {
        let detail = "You sign in through a provider: set up a second factor there.";
        return Err(ApiError::new(StatusCode::CONFLICT, "no_password", detail));
    }
    let found = second_factors::find(&platform.pool, user).await?;
    if found.is_some_and(|factor| factor.is_confirmed) {
        return Err(enabled());
    }
    if caller.is_dry_run() {
        return Err(ApiError::DryRun(vec![]));
    }
    let vault = platform.commands.vault();
    let row = projections::users::find(&platform.pool, user).await?.ok_or_else(ApiError::unauthorized)?;
    let account = vault.open_text(&row.email, purpose::USER_EMAIL).await?;
    let totp = totp(random(SECRET_BYTES), &account)?;
    let sealed = vault.seal_note(KeyOwner::User(user), SEAL, &totp.get_secret_base32(), caller.at()).await?;
    if !second_factors::propose(&platform.pool, user, &sealed, caller.at()).await? {
        return Err(enabled());
    }
    Ok(axum::Json(json!({ "secret": totp.get_secret_base32(), "otpauthUrl": totp.get_url() })))
}

/// Has the factor asked for from now on, once its owner has shown a code.
pub(crate) async fn confirm(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(Code { code }): Body<Code>,
) -> Result<Done, ApiError> {
    let user = signed_in(&caller)?;
    let who = user.to_string();
    platform.throttle.check(caller.ip, &who, caller.at())?;
    let factor = second_factors::find(&platform.pool, user).await?;
    let factor = factor.filter(|factor| !factor.is_confirmed).ok_or_else(|| {
        let detail = "There is no second factor to confirm: ask for one first.";
        ApiError::new(StatusCode::CONFLICT, "nothing_to_confirm", detail)
    })?;
    let Some(step) = step_of(&platform, user, &factor, &code, &caller).await? else {
        platform.throttle.failed(caller.ip, &who, caller.at());
        failure::record(&platform, &caller, Account::Of(user), SignInFailure::WrongCode).await?;
        return Err(wrong_code());
    };
    let receipt =
        platform.commands.user(user, UserCommand::EnableSecondFactor, &caller.context(None)).await?;
    let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| recovery_code()).collect();
    let hashes: Vec<Vec<u8>> = codes.iter().map(|code| hash_of_recovery_code(code)).collect();
    let pool = &platform.pool;
    if !second_factors::confirm(pool, user, &factor.secret, step, &hashes, caller.at()).await? {
        return Err(enabled());
    }
    let body = json!({ "enabled": true, "recoveryCodes": codes });
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(body)).await
}

/// Asks for it no more.
pub(crate) async fn remove(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(Code { code }): Body<Code>,
) -> Result<Done, ApiError> {
    let user = signed_in(&caller)?;
    let who = user.to_string();
    platform.throttle.check(caller.ip, &who, caller.at())?;
    if !is_asked_for(&platform, user).await? {
        return Err(ApiError::not_found());
    }
    if !is_good(&platform, &caller, user, &code).await? {
        platform.throttle.failed(caller.ip, &who, caller.at());
        failure::record(&platform, &caller, Account::Of(user), SignInFailure::WrongCode).await?;
        return Err(wrong_code());
    }
    let command = UserCommand::DisableSecondFactor;
    let receipt = platform.commands.user(user, command, &caller.context(None)).await?;
    second_factors::forget(&platform.pool, user).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "enabled": false }))).await
}

/// Whether a user has to show a second factor.
pub(crate) async fn is_asked_for(platform: &Platform, user: UserId) -> Result<bool, ApiError> {
    let factor = second_factors::find(&platform.pool, user).await?;
    Ok(factor.is_some_and(|factor| factor.is_confirmed))
}

/// Whether this is a code of the user's authenticator, or a recovery code, that was not used before. It is used up; a
/// dry run leaves it.
pub(crate) async fn is_good(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    code: &str,
) -> Result<bool, ApiError> {
    let Some(factor) = second_factors::find(&platform.pool, user).await? else { return Ok(false) };
    if let Some(step) = step_of(platform, user, &factor, code, caller).await? {
        return Ok(caller.is_dry_run() || second_factors::use_step(&platform.pool, user, step).await?);
    }
    let hash = hash_of_recovery_code(code);
    if caller.is_dry_run() {
        return Ok(second_factors::is_recovery_code(&platform.pool, user, &hash).await?);
    }
    let Some(left) = second_factors::use_recovery_code(&platform.pool, user, &hash).await? else {
        return Ok(false);
    };
    let left = u32::try_from(left).unwrap_or_default();
    let context = commands::Context { key: None, ..caller.context_as(user) };
    platform.commands.user(user, UserCommand::UseRecoveryCode { left }, &context).await?;
    Ok(true)
}

/// The time step that a code belongs to: now, or one before or after.
async fn step_of(
    platform: &Platform,
    user: UserId,
    factor: &SecondFactor,
    code: &str,
    caller: &Caller,
) -> Result<Option<i64>, ApiError> {
    let totp = totp(secret(platform.commands.vault(), user, factor).await?, "")?;
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let now = u64::try_from(caller.at().timestamp()).unwrap_or_default() / STEP;
    let is_it = |step: &u64| bool::from(totp.generate(step * STEP).as_bytes().ct_eq(code.as_bytes()));
    Ok([now.saturating_sub(1), now, now + 1].into_iter().find(is_it).and_then(|step| step.try_into().ok()))
}

async fn secret(vault: &Vault, user: UserId, factor: &SecondFactor) -> Result<Vec<u8>, ApiError> {
    let text = vault.open_note(KeyOwner::User(user), SEAL, &factor.secret).await?;
    let text = text.ok_or_else(ApiError::unauthorized)?;
    let unreadable = |error: totp_rs::SecretParseError| {
        ApiError::internal(&std::io::Error::other(format!("a second factor: {error:?}")))
    };
    totp_rs::Secret::Encoded(text).to_bytes().map_err(unreadable)
}

/// As authenticators understand it: SHA-1, six digits, thirty seconds.
fn totp(secret: Vec<u8>, account: &str) -> Result<TOTP, ApiError> {
    let issuer = Some("MastraAdmin".to_owned());
    let made = TOTP::new(Algorithm::SHA1, 6, 1, STEP, secret, issuer, account.to_owned());
    made.map_err(|error| ApiError::internal(&error))
}

/// Eighty random bits, as people can copy them.
fn recovery_code() -> String {
    let text = totp_rs::Secret::Raw(random(RECOVERY_BYTES)).to_encoded().to_string().to_lowercase();
    let parts: Vec<&str> =
        text.as_bytes().chunks(4).filter_map(|part| std::str::from_utf8(part).ok()).collect();
    parts.join("-")
}

/// However it was copied.
fn hash_of_recovery_code(code: &str) -> Vec<u8> {
    sha256(&code.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_lowercase())
}

fn random(bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).expect("the operating system has random bytes");
    random
}

fn signed_in(caller: &Caller) -> Result<UserId, ApiError> {
    match caller.principal {
        Principal::Session { user, .. } => Ok(user),
        _ => Err(ApiError::forbidden("A second factor is changed by who is signed in, not by a token.")),
    }
}

fn enabled() -> ApiError {
    let detail = "There is a second factor already: take it away first.";
    ApiError::new(StatusCode::CONFLICT, "already_enabled", detail)
}

fn wrong_code() -> ApiError {
    ApiError::field("code", "wrong_code", "is not a code of now, or was used")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_codes_are_long_and_read_however_they_were_copied() {
        let code = recovery_code();
        assert_eq!(code.len(), 19, "{code}");
        assert_ne!(code, recovery_code());
        let copied = format!(" {} ", code.to_uppercase().replace('-', " "));
        assert_eq!(hash_of_recovery_code(&copied), hash_of_recovery_code(&code));
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        let totp = totp(b"12345678901234567890".to_vec(), "ann@example.org").unwrap();
        assert_eq!(totp.generate(59), "287082", "RFC 6238, appendix B");
        assert!(
            totp.get_url().starts_with("otpauth://totp/MastraAdmin:ann%40example.org?"),
            "{}",
            totp.get_url()
        );
    }
}
