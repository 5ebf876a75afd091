//! A real directory.

use super::*;

#[tokio::test]
async fn what_is_put_is_got_under_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderArtifacts::open(dir.path().join("store")).await.unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    fs::write(&source, "hello\n").unwrap();

    let artifact = store.put(&source).await.unwrap();

    assert_eq!(artifact.sha256, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
    assert_eq!(artifact.bytes, 6);
    assert!(dir.path().join("store/58/91").join(format!("{}.tar.zst", artifact.sha256)).is_file());
    assert_eq!(store.put(&source).await.unwrap(), artifact);
    store.get(&artifact, &target).await.unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"hello\n");
    assert!(matches!(store.get(&artifact, &target).await, Err(ArtifactError::Unavailable(_))), "it is there");
}

#[tokio::test]
async fn damaged_bytes_are_missing_until_they_are_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderArtifacts::open(dir.path().join("store")).await.unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    fs::write(&source, "hello\n").unwrap();
    let artifact = store.put(&source).await.unwrap();
    for damaged in ["hello?", "hello\nmore", ""] {
        fs::write(store.path(&artifact.sha256), damaged).unwrap();
        assert!(matches!(store.get(&artifact, &target).await, Err(ArtifactError::Missing(_))));
        assert!(!target.exists());
    }
    store.put(&source).await.unwrap();
    store.get(&artifact, &target).await.unwrap();
}

#[tokio::test]
async fn an_unknown_hash_is_missing_and_no_path() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderArtifacts::open(dir.path().join("store")).await.unwrap();
    for sha256 in ["0".repeat(64), "../../../etc/passwd".to_owned(), String::new()] {
        let unknown = Artifact { sha256: sha256.clone(), bytes: 1 };
        let answer = store.get(&unknown, &dir.path().join("x")).await;
        assert!(matches!(answer, Err(ArtifactError::Missing(name)) if name == sha256));
    }
}

#[tokio::test]
async fn what_a_crash_left_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let old = File::create(dir.path().join(".new-old")).unwrap();
    old.set_modified(std::time::SystemTime::now() - 2 * ABANDONED).unwrap();
    File::create(dir.path().join(".new-now")).unwrap();
    FolderArtifacts::open(dir.path()).await.unwrap();
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, [".new-now"]);
}

#[tokio::test]
async fn a_full_disk_is_told_as_such() {
    let full = explain(&io::Error::from_raw_os_error(28)); // ENOSPC
    assert!(matches!(full, ArtifactError::NoSpace));
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let answer = FolderArtifacts::open(dir.path().join("file")).await;
    assert!(matches!(answer, Err(ArtifactError::Unavailable(_))), "{answer:?}");
}
