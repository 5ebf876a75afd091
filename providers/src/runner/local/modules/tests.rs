//! What is kept, for whom, and for how long.

use std::os::unix::fs::symlink;

use super::*;

const RECIPES: [Recipe; 2] = [Recipe::of_test(1), Recipe::of_test(2)];

/// Kept modules, and a place for those of builds, on one disk.
struct Room {
    dir: tempfile::TempDir,
    modules: Modules,
}

impl Room {
    fn new(max_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("kept")).unwrap();
        let modules = Modules::open(dir.path().join("kept"), max_bytes).unwrap();
        Self { dir, modules }
    }

    /// Installs modules of one file of 64 KiB.
    fn install(&self) -> (PathBuf, Moment) {
        let place = self.place().join("node_modules");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("index.js"), [1; 64 << 10]).unwrap();
        let whole = Moment::after(&place, self.dir.path()).unwrap();
        (place, whole)
    }

    fn place(&self) -> PathBuf {
        let place = self.dir.path().join(Uuid::now_v7().to_string());
        fs::create_dir(&place).unwrap();
        place
    }

    fn keep(&self, environment: u128, recipe: Recipe) {
        let (place, whole) = self.install();
        self.modules.keep(id(environment), recipe, artifact(environment), (&place, whole)).unwrap();
    }

    fn take(&self, environment: u128, recipe: Option<Recipe>) -> Option<Artifact> {
        let place = self.place().join("node_modules");
        let artifact = self.modules.take(id(environment), recipe, &place);
        assert_eq!(artifact.is_some(), place.join("index.js").exists());
        artifact
    }

    fn on_disk(&self) -> usize {
        fs::read_dir(self.dir.path().join("kept")).unwrap().count()
    }
}

fn id(number: u128) -> EnvironmentId {
    EnvironmentId(Uuid::from_u128(number))
}

fn artifact(number: u128) -> Artifact {
    Artifact { sha256: format!("{number:064}"), bytes: 1 }
}

#[test]
fn they_are_taken_once_by_their_environment_with_their_recipe() {
    let room = Room::new(1 << 20);
    room.keep(1, RECIPES[0]);
    assert_eq!(room.take(2, Some(RECIPES[0])), None, "another environment's are its own");
    assert_eq!(room.take(1, Some(RECIPES[0])), Some(artifact(1)));
    assert_eq!(room.take(1, Some(RECIPES[0])), None, "they are gone to a build");
    for other in [Some(RECIPES[1]), None] {
        room.keep(1, RECIPES[0]);
        assert_eq!(room.take(1, other), None);
        assert_eq!(room.take(1, Some(RECIPES[0])), None, "there was another build meanwhile");
    }
    assert_eq!(room.on_disk(), 0);
}

#[test]
fn what_is_there_already_stays() {
    let room = Room::new(1 << 20);
    for make in [|place: &Path| fs::create_dir(place), |place: &Path| symlink("/", place)] {
        room.keep(1, RECIPES[0]);
        let place = room.place().join("node_modules");
        make(&place).unwrap();
        assert_eq!(room.modules.take(id(1), Some(RECIPES[0]), &place), None);
        assert!(!place.join("index.js").exists());
    }
}

#[test]
fn what_was_changed_after_the_install_is_not_kept() {
    type Change = fn(&Path) -> io::Result<()>;
    let changes: [Change; 6] = [
        |place| fs::write(place.join("index.js"), "patched"),
        |place| fs::write(place.join("new.js"), ""),
        |place| fs::remove_file(place.join("index.js")),
        |place| {
            fs::write(place.join("index.js"), "patched")?;
            let long_ago = std::time::SystemTime::UNIX_EPOCH;
            fs::File::open(place.join("index.js"))?.set_modified(long_ago)?;
            fs::File::open(place)?.set_modified(long_ago)
        },
        |place| fs::rename(place, place.with_extension("old")).and_then(|()| fs::create_dir(place)),
        |place| fs::rename(place, place.with_extension("old")).and_then(|()| symlink("/etc", place)),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let room = Room::new(1 << 20);
        let (place, whole) = room.install();
        change(&place).unwrap();
        room.modules.keep(id(1), RECIPES[0], artifact(1), (&place, whole)).unwrap();
        assert_eq!((room.on_disk(), room.take(1, Some(RECIPES[0]))), (0, None), "change {number}");
    }
}

#[test]
fn those_used_last_stay_within_the_bound() {
    let room = Room::new(160 << 10);
    room.keep(1, RECIPES[0]);
    room.keep(2, RECIPES[0]);
    room.keep(1, RECIPES[0]);
    room.keep(3, RECIPES[0]);
    assert_eq!(room.on_disk(), 2);
    let there = [1, 2, 3].map(|environment| room.take(environment, Some(RECIPES[0])).is_some());
    assert_eq!(there, [true, false, true]);

    let small = Room::new(32 << 10);
    small.keep(1, RECIPES[0]);
    assert_eq!((small.on_disk(), small.take(1, Some(RECIPES[0]))), (0, None));
}

#[test]
fn they_give_way_to_what_a_build_may_need() {
    let room = Room::new(1 << 20);
    room.keep(1, RECIPES[0]);
    room.keep(2, RECIPES[0]);
    room.modules.make_room(1);
    assert_eq!(room.on_disk(), 2);
    room.modules.make_room(u64::MAX);
    assert_eq!((room.on_disk(), room.take(2, Some(RECIPES[0]))), (0, None));
}

#[test]
fn the_next_life_believes_nothing_and_removes_it() {
    let room = Room::new(1 << 20);
    room.keep(1, RECIPES[0]);
    let next = Modules::open(room.dir.path().join("kept"), 1 << 20).unwrap();
    let place = room.place().join("node_modules");
    assert_eq!(next.take(id(1), Some(RECIPES[0]), &place), None);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while room.on_disk() > 0 {
        assert!(std::time::Instant::now() < deadline, "it is still there");
        thread::yield_now();
    }
}
