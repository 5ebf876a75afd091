//! Keys that are good, keys that are not, and files that others could read.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use tempfile::TempDir;

use super::*;

const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn parse(text: impl Into<Vec<u8>>) -> Result<MasterKey, MasterKeyError> {
    MasterKey::parse(&Secret::new(text))
}

fn dir() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    (dir, path)
}

#[test]
fn hex_and_every_kind_of_base64_are_the_same_key() {
    let bytes = hex::decode(HEX).unwrap();
    for text in [
        HEX.to_owned(),
        HEX.to_uppercase(),
        format!(" {HEX}\n"),
        STANDARD_PAD_INDIFFERENT.encode(&bytes),
        STANDARD_PAD_INDIFFERENT.encode(&bytes).replace('=', ""),
        URL_SAFE_PAD_INDIFFERENT.encode(&bytes),
    ] {
        assert_eq!(parse(text.clone()).unwrap().bytes(), bytes, "{text}");
    }
}

#[test]
fn other_lengths_and_texts_are_refused() {
    for text in
        ["", "secret", &HEX[2..], &format!("{HEX}00"), &"z".repeat(44), "hunter2hunter2hunter2hunter2hunte"]
    {
        assert!(matches!(parse(text), Err(MasterKeyError::Malformed)), "{text}");
    }
}

#[test]
fn keys_that_can_be_guessed_are_refused() {
    let counting_down: Vec<u8> = (0..32).map(|n| 250 - n).collect();
    for key in [
        EXAMPLE.to_owned(),
        "00".repeat(32),
        "ff".repeat(32),
        "0123456789abcdef".repeat(4),
        hex::encode("0123456789abcdef0123456789abcdef"),
        hex::encode("correct horse battery staple ok!"),
        hex::encode(counting_down),
    ] {
        assert!(matches!(parse(key.clone()), Err(MasterKeyError::Weak(_))), "{key}");
    }
}

#[test]
fn an_error_never_shows_the_key() {
    let Err(error) = parse(&HEX[1..]) else { panic!("it is too short") };
    assert!(!format!("{error} {error:?}").contains(&HEX[1..9]));
}

#[test]
fn a_missing_file_is_made_once_and_only_its_owner_reads_it() {
    let (dir, path) = dir();
    let made = MasterKey::from_env_or_file(None, &path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let read = MasterKey::from_env_or_file(None, &path).unwrap();
    assert_eq!(made.bytes(), read.bytes());
    assert_ne!(made.bytes(), MasterKey::from_env_or_file(None, &path.with_extension("2")).unwrap().bytes());
}

#[test]
fn whoever_makes_the_file_first_wins() {
    let (_dir, path) = dir();
    let keys: Vec<_> = std::thread::scope(|scope| {
        let load = || MasterKey::from_env_or_file(None, &path).unwrap().bytes().to_vec();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[test]
fn the_environment_comes_first() {
    let (_dir, path) = dir();
    let key = MasterKey::from_env_or_file(Some(&Secret::new(HEX)), &path).unwrap();
    assert_eq!(key.bytes(), hex::decode(HEX).unwrap());
    assert!(!path.exists());
}

#[test]
fn a_file_that_others_could_read_or_write_is_refused() {
    let (dir, path) = dir();
    fs::write(&path, HEX).unwrap();
    let load = |path: &Path| MasterKey::from_env_or_file(None, path);
    for mode in [0o644, 0o640, 0o602, 0o660, 0o700] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert!(matches!(load(&path), Err(MasterKeyError::Exposed { .. })), "{mode:o}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    assert!(load(&path).is_ok());
    assert!(matches!(load(dir.path()), Err(MasterKeyError::Exposed { .. })));

    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(load(&link).is_ok());
    if rustix::process::geteuid().is_root() {
        chown(&path, Some(65_534), None).unwrap();
        assert!(matches!(load(&link), Err(MasterKeyError::Exposed { .. })));
    }
}

#[test]
fn a_damaged_file_is_refused_and_kept() {
    let (_dir, path) = dir();
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(MasterKey::from_env_or_file(None, &path), Err(MasterKeyError::Malformed)));
    assert_eq!(fs::read(&path).unwrap(), b"");
}
