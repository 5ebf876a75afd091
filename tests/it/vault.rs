//! The key vault: what is sealed opens only where it was sealed for.

use chrono::Utc;
use commands::VaultError;
use domain::ids::{ProjectId, SecretId, UserId};
use domain::sealed::{KeyOwner, Sealed};
use tests::bus::Bus;
use uuid::Uuid;

fn owner() -> KeyOwner {
    KeyOwner::Project(ProjectId(Uuid::from_u128(1)))
}

async fn seal(bus: &Bus, text: &str) -> Sealed {
    let id = SecretId(Uuid::now_v7());
    bus.commands.vault().seal(owner(), "env_var/A", id, text.as_bytes(), Utc::now()).await.unwrap()
}

#[tokio::test]
async fn a_value_opens_only_for_its_purpose_id_and_owner() {
    let bus = Bus::start().await;
    let vault = bus.commands.vault();
    let sealed = seal(&bus, "s3cret").await;
    assert_eq!(vault.open_text(&sealed, "env_var/A").await.unwrap(), "s3cret");
    let moved = [
        (sealed.clone(), "env_var/B"),
        (Sealed { id: SecretId(Uuid::now_v7()), ..sealed.clone() }, "env_var/A"),
        (Sealed { key: KeyOwner::System, ..sealed.clone() }, "env_var/A"),
        (Sealed { data: sealed.data.replacen('A', "B", 1), ..sealed.clone() }, "env_var/A"),
    ];
    for (value, purpose) in moved {
        let error = vault.open_sealed(&value, purpose).await.unwrap_err();
        assert!(matches!(error, VaultError::Damaged), "{error:?}");
    }
}

#[tokio::test]
async fn equal_values_have_equal_marks_and_different_ciphertexts() {
    let bus = Bus::start().await;
    let (a, b, c) = (seal(&bus, "x").await, seal(&bus, "x").await, seal(&bus, "y").await);
    assert!(a.same_value(&b) && !a.same_value(&c));
    assert_ne!(a.data, b.data);
}

#[tokio::test]
async fn a_destroyed_key_erases() {
    let bus = Bus::start().await;
    let person = KeyOwner::User(UserId(Uuid::now_v7()));
    let id = SecretId(Uuid::now_v7());
    let sealed = bus.commands.vault().seal(person, "user.email", id, b"ann", Utc::now()).await.unwrap();
    sqlx::query("UPDATE data_keys SET wrapped = NULL, destroyed_at = now() WHERE owner = $1")
        .bind(person.to_string())
        .execute(bus.db.pool())
        .await
        .unwrap();
    let (elsewhere, _) = Bus::connect(&bus.db).await;
    assert_eq!(elsewhere.vault().open_text(&sealed, "user.email").await.unwrap(), "[erased]");
    let error = elsewhere.vault().seal(person, "user.email", id, b"ann", Utc::now()).await.unwrap_err();
    assert!(matches!(error, VaultError::Erased), "an erased person gets no new key");
}

#[tokio::test]
async fn fingerprints_are_stable_across_processes_and_differ_by_purpose() {
    let bus = Bus::start().await;
    let (elsewhere, _) = Bus::connect(&bus.db).await;
    let here = bus.commands.vault().fingerprint("email", "ann@example.org").await.unwrap();
    assert_eq!(here, elsewhere.vault().fingerprint("email", "ann@example.org").await.unwrap());
    assert_ne!(here, elsewhere.vault().fingerprint("other", "ann@example.org").await.unwrap());
}
