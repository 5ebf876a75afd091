//! How far each source is: what followers wait for.
//!
//! Sources written here raise their head themselves. Those that another process writes are looked up from
//! time to time, as long as somebody follows them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use domain::ports::logs::LogSource;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::{Shared, lock, store};

/// How often the store is asked about sources of other processes.
const POLL: Duration = Duration::from_millis(250);

/// The heads of all sources that are open or followed.
#[derive(Default)]
pub(super) struct Heads {
    heads: Mutex<HashMap<LogSource, Head>>,
    pub(super) wake: Arc<Notify>,
}

struct Head {
    last: watch::Sender<i64>,
    /// Whether it is written here.
    open: bool,
}

impl Heads {
    pub(super) fn follow(&self, source: LogSource) -> watch::Receiver<i64> {
        let mut heads = lock(&self.heads);
        let head = heads.entry(source).or_insert_with(|| Head { last: watch::Sender::new(0), open: false });
        if !head.open {
            self.wake.notify_one();
        }
        head.last.subscribe()
    }

    /// From now on it is written here.
    pub(super) fn opened(&self, source: LogSource, last: i64) {
        let mut heads = lock(&self.heads);
        let head = heads.entry(source).or_insert_with(|| Head { last: watch::Sender::new(last), open: true });
        head.open = true;
        rise(&head.last, last);
    }

    /// Nobody writes it here any more.
    pub(super) fn closed(&self, source: LogSource) {
        if let Some(head) = lock(&self.heads).get_mut(&source) {
            head.open = false;
        }
        self.wake.notify_one();
    }

    /// Lines up to this one are stored.
    pub(super) fn raise(&self, source: LogSource, last: i64) {
        if let Some(head) = lock(&self.heads).get(&source) {
            rise(&head.last, last);
        }
    }

    /// The sources that are followed and not written here. Forgets those that are neither.
    fn foreign(&self) -> Vec<LogSource> {
        let mut heads = lock(&self.heads);
        heads.retain(|_, head| head.open || head.last.receiver_count() > 0);
        heads.iter().filter(|(_, head)| !head.open).map(|(source, _)| *source).collect()
    }
}

/// Asks the store about sources of other processes, until nobody is left who could follow.
pub(super) async fn run(shared: Weak<Shared>, wake: Arc<Notify>) {
    loop {
        wake.notified().await;
        loop {
            let Some(shared) = shared.upgrade() else { return };
            let sources = shared.heads.foreign();
            if sources.is_empty() {
                break;
            }
            match store::last_seqs(&shared.pool, &sources).await {
                Ok(last) => last.into_iter().for_each(|(source, last)| shared.heads.raise(source, last)),
                Err(error) => tracing::debug!("followed logs cannot be looked up now: {error}"),
            }
            drop(shared);
            let _woken_or_not = timeout(POLL, wake.notified()).await;
        }
    }
}

fn rise(head: &watch::Sender<i64>, last: i64) {
    head.send_if_modified(|known| {
        let higher = last > *known;
        *known = last.max(*known);
        higher
    });
}

#[cfg(test)]
mod tests {
    use domain::ids::BuildId;
    use uuid::Uuid;

    use super::*;

    const SOURCE: LogSource = LogSource::Build(BuildId(Uuid::nil()));

    #[test]
    fn a_source_that_nobody_follows_any_more_is_forgotten() {
        let heads = Heads::default();
        let (one, other) = (heads.follow(SOURCE), heads.follow(SOURCE));
        assert_eq!(heads.foreign(), [SOURCE]);
        drop(one);
        assert_eq!(heads.foreign(), [SOURCE]);
        drop(other);
        assert_eq!(heads.foreign(), []);
        assert!(lock(&heads.heads).is_empty());
    }

    #[test]
    fn a_source_that_is_written_here_is_not_looked_up() {
        let heads = Heads::default();
        let follower = heads.follow(SOURCE);
        heads.opened(SOURCE, 7);
        assert_eq!((heads.foreign(), *follower.borrow()), (vec![], 7));
        heads.closed(SOURCE);
        assert_eq!(heads.foreign(), [SOURCE]);
        heads.opened(SOURCE, 7);
        drop(follower);
        assert_eq!(heads.foreign(), []);
        assert_eq!(lock(&heads.heads).len(), 1, "it is open");
        heads.closed(SOURCE);
        assert_eq!(heads.foreign(), []);
        assert!(lock(&heads.heads).is_empty());
    }

    #[test]
    fn a_head_only_rises() {
        let heads = Heads::default();
        let mut follower = heads.follow(SOURCE);
        heads.raise(SOURCE, 5);
        assert!(follower.has_changed().unwrap());
        assert_eq!(*follower.borrow_and_update(), 5);
        heads.raise(SOURCE, 4);
        heads.raise(SOURCE, 5);
        assert!(!follower.has_changed().unwrap());
    }
}
