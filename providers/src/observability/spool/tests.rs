use std::path::PathBuf;

use chrono::DateTime;
use uuid::Uuid;

use super::record::{Record, Rows};
use super::segment::Packed;
use super::*;

const ROOM: u64 = 1 << 20;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn record(n: i64) -> Packed {
    Packed { rows: u32::try_from(n).unwrap(), at: at(n), payload: vec![n.to_le_bytes()[0]; 100] }
}

/// Files with rows, below a root.
fn files(root: &Path) -> Vec<PathBuf> {
    let is_file = |entry: &walkdir::DirEntry| entry.path().extension().is_some_and(|ending| ending == "rows");
    let found = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(Result::unwrap);
    found.filter(is_file).map(walkdir::DirEntry::into_path).collect()
}

/// All records of the oldest file.
async fn front(queue: &Queue) -> Vec<Packed> {
    let Some(segment) = queue.front().await else { return vec![] };
    let mut reader = segment::Reader::open(&segment.path, 0, segment.bytes).unwrap();
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_kill_and_what_was_cut_off_is_not() {
    let root = tempfile::tempdir().unwrap();
    let queue = Queue::open(root.path(), ROOM).unwrap();
    for n in 1..=3 {
        queue.add(record(n)).await.unwrap();
    }
    queue.end().await;
    let [file] = &files(root.path())[..] else { panic!("one file") };
    let whole = std::fs::read(file).unwrap();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    // The last record was being written; cut anywhere, also in its head, it is not there and the others are.
    for length in [whole.len() - 1, whole.len() - 100, whole.len() - 110, whole.len() - 119] {
        std::fs::write(file, &whole[..length]).unwrap();
        let queue = Queue::open(root.path(), ROOM).unwrap();
        assert_eq!((queue.backlog().rows, queue.backlog().oldest), (3, Some(at(1))), "{length}");
        assert_eq!(front(&queue).await, [record(1), record(2)]);
        assert_eq!(std::fs::metadata(file).unwrap().len(), whole.len() as u64 - 120, "it is cut off");
        queue.end().await;
    }
    // Half a record before a whole one.
    let mut broken = whole.clone();
    broken[30] ^= 1;
    std::fs::write(file, &broken).unwrap();
    let queue = Queue::open(root.path(), ROOM).unwrap();
    assert_eq!(front(&queue).await, [], "a bit that has changed is seen");
}

#[tokio::test]
async fn a_file_that_is_damaged_in_its_middle_is_kept_for_operators() {
    let root = tempfile::tempdir().unwrap();
    for n in [1, 2] {
        let queue = Queue::open(root.path(), ROOM).unwrap();
        queue.add(record(n)).await.unwrap();
        queue.add(record(n + 2)).await.unwrap();
        queue.end().await;
    }
    let [older, _] = &files(root.path())[..] else { panic!("two files") };
    let mut broken = std::fs::read(older).unwrap();
    let end = broken.len() - 1;
    broken[end] ^= 1;
    std::fs::write(older, &broken).unwrap();
    let queue = Queue::open(root.path(), ROOM).unwrap();
    assert_eq!(queue.backlog().rows, 1 + 2 + 4);
    assert_eq!(front(&queue).await, [record(1)]);
    queue.done(true);
    let damaged = older.with_extension("damaged");
    assert_eq!(std::fs::read(&damaged).unwrap(), broken);
    assert_eq!(front(&queue).await, [record(2), record(4)]);
    queue.stored(Written { stored: 6, repeated: 0 });
    queue.done(true);
    assert_eq!((queue.front().await, files(root.path()).len()), (None, 0));
    // It takes up room, and operators are told of it, also after the next start.
    let told = |queue: &Queue| (queue.backlog().set_aside, queue.backlog().bytes);
    assert_eq!(told(&queue), (1, broken.len() as u64));
    queue.end().await;
    let queue = Queue::open(root.path(), ROOM).unwrap();
    assert_eq!(told(&queue), (1, broken.len() as u64));
    queue.add(record(5)).await.unwrap();
    assert!(front(&queue).await.len() == 1 && damaged.exists());
    queue.end().await;
    let _first = Queue::open(&root.path().join("elsewhere"), ROOM).unwrap();
    assert_eq!(std::fs::read(&damaged).unwrap(), broken, "no other file took its name");
}

#[tokio::test]
async fn what_a_kill_cut_off_is_no_damage_where_files_of_others_are_taken_over() {
    let root = tempfile::tempdir().unwrap();
    let (one, other) = (Queue::open(root.path(), ROOM).unwrap(), Queue::open(root.path(), ROOM).unwrap());
    one.add(record(1)).await.unwrap();
    other.add(record(2)).await.unwrap();
    one.end().await;
    other.end().await;
    for file in files(root.path()) {
        let torn = [std::fs::read(&file).unwrap(), vec![9; 57]].concat();
        std::fs::write(file, torn).unwrap();
    }
    let both = Queue::open(root.path(), ROOM).unwrap();
    for n in [1, 2] {
        assert_eq!(front(&both).await, [record(n)]);
        both.stored(Written { stored: n.cast_unsigned(), repeated: 0 });
        both.done(true);
    }
    assert_eq!((both.backlog().set_aside, both.backlog().bytes), (0, 0));
}

#[tokio::test]
async fn what_cannot_be_put_aside_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let queue = Queue::open(root.path(), ROOM).unwrap();
    // The name that it gets is taken.
    std::fs::create_dir(room::file(&root.path().join("0"), room::ASIDE, 0)).unwrap();
    queue.set_aside(record(1)).await.unwrap_err();
    assert_eq!((queue.backlog().set_aside, queue.backlog().bytes), (0, 0));
    queue.set_aside(record(2)).await.unwrap();
    assert_eq!(queue.backlog().set_aside, 2);
}

/// A file with these records.
fn written(dir: &Path, records: &[Packed]) -> segment::Segment {
    let mut open = segment::Open::create(dir.join("x.rows")).unwrap();
    open.append(records).unwrap();
    open.segment
}

fn points(rows: usize) -> Packed {
    Record::new(tenant(), Rows::Points(vec![point(); rows])).pack(at(9)).unwrap()
}

#[test]
fn what_can_be_read_before_a_damage_is_read_and_long_records_come_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    // Its checksum is right, and nobody can unpack it.
    let file = written(dir.path(), &[points(1), points(2), record(3), points(4)]);
    let taken = drain::read(&file.path, 0, file.bytes).unwrap();
    let rows = |taken: &drain::Taken| taken.parts.iter().map(|part| part.2.len()).collect::<Vec<_>>();
    assert_eq!((rows(&taken), taken.more), (vec![3], drain::More::Damaged));

    std::fs::remove_file(&file.path).unwrap();
    let file = written(dir.path(), &[points(2 * drain::ROWS + 1), points(1)]);
    let taken = drain::read(&file.path, 0, file.bytes).unwrap();
    assert_eq!((rows(&taken), taken.more), (vec![drain::ROWS, drain::ROWS, 1], drain::More::Yes));
    let taken = drain::read(&file.path, taken.position, file.bytes).unwrap();
    assert_eq!((rows(&taken), taken.more), (vec![1], drain::More::No));
}

#[test]
fn a_file_that_cannot_be_read_now_is_not_damaged() {
    let dir = tempfile::tempdir().unwrap();
    // A directory opens, and says when it is read that it is one.
    drain::read(dir.path(), 0, 100).unwrap_err();
}

#[tokio::test]
async fn beyond_the_room_nothing_is_kept_and_all_is_counted() {
    let root = tempfile::tempdir().unwrap();
    // The file's head and four records of 120 bytes.
    let queue = Queue::open(root.path(), 8 + 4 * 120).unwrap();
    let mut refused = 0;
    for n in 1..=9 {
        match queue.add(record(n)).await {
            Ok(()) => assert!(n <= 4, "{n}"),
            Err(NotKept::Full) => refused += n.cast_unsigned(),
            Err(NotKept::Disk(error)) => panic!("{error}"),
        }
    }
    let backlog = queue.backlog();
    assert_eq!((backlog.rows, backlog.refused, backlog.is_refusing), (10, refused, true));
    assert_eq!(refused, 5 + 6 + 7 + 8 + 9);
    assert!(backlog.bytes <= backlog.room);
    assert_eq!(front(&queue).await.len(), 4);
    queue.stored(Written { stored: 9, repeated: 1 });
    queue.done(true);
    let backlog = queue.backlog();
    assert_eq!((backlog.rows, backlog.bytes, backlog.stored, backlog.repeated), (0, 0, 9, 1));
    queue.add(record(5)).await.unwrap();
    assert!(!queue.backlog().is_refusing);
}

#[tokio::test]
async fn servers_share_a_directory_and_one_takes_up_what_another_left() {
    let root = tempfile::tempdir().unwrap();
    let (one, other) = (Queue::open(root.path(), ROOM).unwrap(), Queue::open(root.path(), ROOM).unwrap());
    one.add(record(1)).await.unwrap();
    other.add(record(2)).await.unwrap();
    other.set_aside(record(3)).await.unwrap();
    other.end().await;
    assert_eq!(front(&one).await, [record(1)]);
    one.end().await;
    let both = Queue::open(root.path(), ROOM).unwrap();
    assert_eq!((both.backlog().rows, both.backlog().set_aside), (3, 3));
    assert_eq!(front(&both).await, [record(1)]);
    both.done(true);
    assert_eq!(front(&both).await, [record(2)]);
}

pub(super) fn tenant() -> Tenant {
    Tenant {
        team: domain::ids::TeamId(Uuid::from_u128(1)),
        project: domain::ids::ProjectId(Uuid::from_u128(2)),
    }
}

pub(super) fn point() -> Point {
    let label = serde_json::json!({ "ä": [1, -2.5, 0.1, 1e300, null, u64::MAX], "b": { "c": true } });
    Point {
        id: "0123456789abcdef0123456789abcdef".parse().unwrap(),
        name: "x".into(),
        kind: domain::ports::telemetry::MetricKind::Histogram,
        unit: None,
        at: at(1) + chrono::TimeDelta::microseconds(7),
        started_at: Some(at(0)),
        series: "0123456789abcdef0123456789abcdee".parse().unwrap(),
        count: 3,
        sum: Some(0.1 + 0.2),
        min: Some(5e-324),
        max: None,
        bounds: vec![1.0 / 3.0],
        buckets: vec![1, 2],
        labels: label.as_object().unwrap().clone(),
        context: serde_json::Map::new(),
        service: Some("s".into()),
        deployment_id: Some(domain::ids::DeploymentId(Uuid::from_u128(7))),
        trace_id: Some("0123456789abcdef0123456789abcdef".parse().unwrap()),
        span_id: Some("0123456789abcdef".parse().unwrap()),
    }
}

#[test]
fn rows_are_what_they_were() {
    let record = Record::new(tenant(), Rows::Points(vec![point(), point()]));
    let packed = record.pack(at(9)).unwrap();
    assert_eq!((packed.rows, packed.at), (2, at(9)));
    assert_eq!(Record::unpack(&packed).unwrap().0, record);
}
