//! What is fetched from a provider and kept: fetched at most twice a minute, kept while the provider is away.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::ports::auth::AuthError;

/// Fetches in a minute, whoever asks how often.
const FETCHES: usize = 2;
const MINUTE: Duration = Duration::from_secs(60);

/// Something of a provider that changes now and then.
#[derive(Debug)]
pub(super) struct Fresh<T> {
    state: Mutex<State<T>>,
    /// Held by who fetches.
    turn: tokio::sync::Mutex<()>,
    /// From this age on it is fetched again when it is asked for.
    max_age: Duration,
}

#[derive(Debug)]
struct State<T> {
    known: Option<(Arc<T>, Instant)>,
    fetches: Vec<Instant>,
}

impl<T> Fresh<T> {
    pub(super) fn new(max_age: Duration) -> Self {
        let state = Mutex::new(State { known: None, fetches: vec![] });
        Self { state, turn: tokio::sync::Mutex::default(), max_age }
    }

    /// What is known, fetched anew when it is old or does not do. What is known is kept when that fails.
    pub(super) async fn get(
        &self,
        does: impl Fn(&T) -> bool,
        fetch: impl AsyncFnOnce() -> Result<T, AuthError>,
    ) -> Result<Arc<T>, AuthError> {
        if let Some((known, is_young)) = self.known()
            && does(&known)
            && (is_young || self.turn.try_lock().is_err())
        {
            return Ok(known);
        }
        let _turn = self.turn.lock().await;
        // Somebody else may have fetched it meanwhile.
        let known = self.known();
        if let Some((known, true)) = &known
            && does(known)
        {
            return Ok(known.clone());
        }
        if self.may_fetch() {
            match fetch().await {
                Ok(new) => {
                    let new = Arc::new(new);
                    self.state.lock().expect("no holder panics").known = Some((new.clone(), Instant::now()));
                    return Ok(new);
                }
                Err(error) if known.is_none() => return Err(error),
                Err(error) => tracing::warn!(%error, "what is known of a sign-in provider is kept: {error}"),
            }
        }
        let away = || AuthError::Unavailable("it was asked twice within a minute".to_owned());
        known.map(|(known, _)| known).ok_or_else(away)
    }

    /// What is known, and whether it is young.
    fn known(&self) -> Option<(Arc<T>, bool)> {
        let state = self.state.lock().expect("no holder panics");
        state.known.as_ref().map(|(known, since)| (known.clone(), since.elapsed() < self.max_age))
    }

    fn may_fetch(&self) -> bool {
        let mut state = self.state.lock().expect("no holder panics");
        state.fetches.retain(|at| at.elapsed() < MINUTE);
        let may = state.fetches.len() < FETCHES;
        if may {
            state.fetches.push(Instant::now());
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_fetched_twice_a_minute_at_most_and_kept_when_that_fails() {
        let fresh = Fresh::new(Duration::from_secs(600));
        assert_eq!(*fresh.get(|_| true, async || Ok(1)).await.unwrap(), 1);
        assert_eq!(*fresh.get(|_| true, async || Ok(2)).await.unwrap(), 1, "young enough");
        let gone = async || Err(AuthError::Unavailable("gone".into()));
        assert_eq!(*fresh.get(|known| *known == 3, gone).await.unwrap(), 1, "kept");
        assert_eq!(*fresh.get(|known| *known == 3, async || Ok(3)).await.unwrap(), 1, "twice already");
    }

    #[tokio::test]
    async fn nothing_known_and_nothing_to_be_had_is_an_error() {
        let fresh: Fresh<u8> = Fresh::new(Duration::ZERO);
        for _ in 0..3 {
            let gone = async || Err(AuthError::Unavailable("gone".into()));
            assert!(fresh.get(|_| true, gone).await.is_err());
        }
        assert!(fresh.get(|_| true, async || Ok(1)).await.is_err(), "not a third time");
    }

    #[tokio::test]
    async fn many_who_ask_at_once_make_one_fetch() {
        let fresh = Fresh::new(Duration::from_secs(600));
        let fetched = Mutex::new(0);
        let ask = || {
            fresh.get(
                |_| true,
                async || {
                    tokio::task::yield_now().await;
                    *fetched.lock().unwrap() += 1;
                    Ok(())
                },
            )
        };
        let (a, b, c) = tokio::join!(ask(), ask(), ask());
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        assert_eq!(*fetched.lock().unwrap(), 1);
    }
}
