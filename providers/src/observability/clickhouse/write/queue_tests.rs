use std::sync::Arc;

use domain::ids::{ProjectId, TeamId};
use domain::ports::telemetry::{Tenant, Written};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::*;
use crate::observability::clickhouse::write::Became;

/// Batches as they begin, each with what ends it.
type Begun = mpsc::UnboundedReceiver<(Vec<u64>, oneshot::Sender<()>)>;

/// A queue whose batches end when the test says so.
fn queue() -> (mpsc::Sender<Job<u64>>, Begun) {
    let (jobs, waiting) = mpsc::channel(256);
    let (begins, begun) = mpsc::unbounded_channel();
    let write = move |jobs: Vec<Job<u64>>| {
        let (end, ended) = oneshot::channel();
        let rows = jobs.iter().flat_map(|job| job.rows.iter().copied()).collect();
        begins.send((rows, end)).unwrap();
        async move {
            ended.await.expect("the test lets it end");
            for job in jobs {
                _ = job.answer.send(Ok(Written::default()));
            }
        }
    };
    tokio::spawn(run(waiting, write));
    (jobs, begun)
}

fn job(rows: impl IntoIterator<Item = u64>) -> (Job<u64>, oneshot::Receiver<Became>) {
    let rows: Vec<_> = rows.into_iter().collect();
    let tenant = Tenant { team: TeamId(Uuid::nil()), project: ProjectId(Uuid::nil()) };
    let identities = rows.iter().map(|n| (Uuid::nil(), ([0; 16], n.to_be_bytes()), 0)).collect();
    let (answer, answered) = oneshot::channel();
    (Job { tenant, rows: Arc::new(rows), identities, answer }, answered)
}

async fn send(
    jobs: &mpsc::Sender<Job<u64>>,
    rows: impl IntoIterator<Item = u64>,
) -> oneshot::Receiver<Became> {
    let (job, answered) = job(rows);
    assert!(jobs.send(job).await.is_ok(), "it takes jobs");
    answered
}

/// Many enough for a batch of their own.
fn many(first: u64) -> std::ops::Range<u64> {
    first..first + ENOUGH as u64
}

/// The next batch that begins.
async fn next(begun: &mut Begun) -> (Vec<u64>, oneshot::Sender<()>) {
    begun.recv().await.expect("one begins")
}

#[tokio::test]
async fn large_batches_begin_at_once_and_small_ones_at_their_beat() {
    let (jobs, mut begun) = queue();
    let mut took = async |rows: usize| {
        let start = Instant::now();
        for n in 0..20 {
            let answer = send(&jobs, n * 10_000..n * 10_000 + rows as u64).await;
            next(&mut begun).await.1.send(()).unwrap();
            answer.await.unwrap().unwrap();
        }
        start.elapsed()
    };
    assert!(took(ENOUGH).await < BEAT * 19);
    assert!(took(ENOUGH - 1).await >= BEAT * 19);
}

#[tokio::test]
async fn so_many_batches_are_under_way_and_what_comes_meanwhile_is_one() {
    let (jobs, mut begun) = queue();
    let (mut answers, mut ends) = (vec![], vec![]);
    for n in 0..UNDER_WAY as u64 {
        answers.push(send(&jobs, many(n * 10_000)).await);
        ends.push(next(&mut begun).await.1);
    }
    answers.push(send(&jobs, many(1_000_000)).await);
    answers.push(send(&jobs, many(2_000_000)).await);
    ends.remove(1).send(()).unwrap();
    let (rows, end) = next(&mut begun).await;
    assert_eq!(rows, many(1_000_000).chain(many(2_000_000)).collect::<Vec<_>>());
    ends.into_iter().chain([end]).for_each(|end| end.send(()).unwrap());
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_row_that_is_under_way_is_not_begun_again_before_it_is_settled() {
    let (jobs, mut begun) = queue();
    let first = send(&jobs, many(0)).await;
    let end_first = next(&mut begun).await.1;
    let again = send(&jobs, [7, 100_000]).await;
    let behind = send(&jobs, [100_000]).await;
    // What comes later begins without what waits, before and after the end of another.
    for n in [100_001, 100_002] {
        let other = send(&jobs, [n]).await;
        let (rows, end) = next(&mut begun).await;
        assert_eq!(rows, [n]);
        end.send(()).unwrap();
        other.await.unwrap().unwrap();
    }
    end_first.send(()).unwrap();
    first.await.unwrap().unwrap();
    let (rows, end) = next(&mut begun).await;
    assert_eq!(rows, [7, 100_000, 100_000], "in the order in which they came");
    end.send(()).unwrap();
    again.await.unwrap().unwrap();
    behind.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_batch_that_broke_off_holds_nobody_for_ever() {
    let (jobs, mut begun) = queue();
    let first = send(&jobs, many(0)).await;
    let end = next(&mut begun).await.1;
    let again = send(&jobs, [7]).await;
    // It panics.
    drop(end);
    first.await.unwrap_err();
    let (rows, end) = next(&mut begun).await;
    assert_eq!(rows, [7]);
    end.send(()).unwrap();
    again.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_nobody_waits_for_is_left_out_and_what_is_held_is_written_when_nobody_comes_any_more() {
    let (jobs, mut begun) = queue();
    let first = send(&jobs, many(0)).await;
    let end_first = next(&mut begun).await.1;
    drop(send(&jobs, [8]).await);
    let held = send(&jobs, [7]).await;
    drop(jobs);
    end_first.send(()).unwrap();
    first.await.unwrap().unwrap();
    let (rows, end) = next(&mut begun).await;
    assert_eq!(rows, [7]);
    end.send(()).unwrap();
    held.await.unwrap().unwrap();
    assert!(begun.recv().await.is_none(), "it has ended");
}

#[test]
fn what_a_batch_has_no_room_for_waits_for_it_where_they_share_a_row() {
    let mut queue = Queue::default();
    let most = ROWS as u64;
    let jobs = [job(0..most), job([5]), job([100_000]), job([5, 100_000])];
    let (jobs, _answers): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
    jobs.into_iter().for_each(|job| queue.push(job));
    assert!(!queue.has_room());
    assert_eq!(queue.begin().0.len(), 1);
    assert_eq!((queue.free_rows, queue.held_rows), (1, 3), "the last has a row that is held before it");
    let (jobs, _) = queue.begin();
    assert_eq!(*jobs[0].rows, [100_000]);
}
