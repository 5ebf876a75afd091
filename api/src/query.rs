//! What stands in the address: parameters of the path and of the query.

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams, rejection::QueryRejection};
use axum::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::form_urlencoded;
use uuid::Uuid;

use crate::body::field_error;
use crate::error::{ApiError, FieldError, Problem};

/// How long a list is when nobody says.
const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 200;

/// The last parameter of the path. What does not read as one is as unknown as any other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last<T>(pub(crate) T);

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for Last<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| Problem::not_found())?;
        let last = params.iter().last().and_then(|(_, value)| value.parse().ok());
        last.map(Self).ok_or_else(|| Problem::not_found().into())
    }
}

/// Parameters of the query. Those that `T` does not know are ignored: `limit`, `cursor` and `dryRun` are read
/// elsewhere.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "for lists that can be narrowed"))]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(Problem::invalid("", "invalid", "the query must not contain U+0000").into());
        }
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(refused(&rejection).into()),
        }
    }
}

#[cfg_attr(not(test), expect(dead_code, reason = "for lists that can be narrowed"))]
/// The rejection's source says `field: what is wrong`, or only what is wrong.
fn refused(rejection: &QueryRejection) -> Problem {
    let said = std::error::Error::source(rejection).map(ToString::to_string).unwrap_or_default();
    let (path, sentence) = match said.split_once(": ") {
        Some((path, sentence)) if !path.contains(' ') => (path, sentence),
        _ => ("", said.as_str()),
    };
    let FieldError { field, code, message } = field_error(path, sentence);
    Problem::invalid(field, code, message)
}

/// Which part of a list is asked for: `limit` items after the item that `cursor` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page<C = Uuid> {
    /// How many.
    pub(crate) limit: i64,
    /// The last item of the page before.
    pub(crate) cursor: Option<C>,
}

/// The same for the OpenAPI document.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described, never made")]
pub(crate) struct PageParams {
    /// How many items, 1 to 200; 50 when nobody says.
    limit: Option<u8>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// A part of a list, newest first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed<T> {
    /// The items.
    pub(crate) items: Vec<T>,
    /// Asks for what follows; null when nothing does.
    pub(crate) next_cursor: Option<String>,
}

impl<C> Page<C> {
    /// How many rows to read: one more than is shown tells whether anything follows.
    pub(crate) fn read(&self) -> i64 {
        self.limit + 1
    }

    /// Cuts what was read to the page.
    pub(crate) fn cut<R>(&self, mut rows: Vec<R>, id: impl Fn(&R) -> String) -> (Vec<R>, Option<String>) {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(id);
        (rows, next)
    }
}

impl Page<Uuid> {
    /// The page of a list that was read as a whole, ordered by falling id.
    pub(crate) fn cut_whole<R>(&self, rows: Vec<R>, id: impl Fn(&R) -> Uuid) -> (Vec<R>, Option<String>) {
        let after = rows.into_iter().skip_while(|row| self.cursor.is_some_and(|cursor| id(row) >= cursor));
        let rows = after.take(usize::try_from(self.read()).unwrap_or(usize::MAX)).collect();
        self.cut(rows, |row| id(row).to_string())
    }
}

impl<S: Send + Sync, C: FromStr> FromRequestParts<S> for Page<C> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query();
        let limit = match one(query, "limit")? {
            None => DEFAULT_LIMIT,
            Some(text) => {
                let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                limit.ok_or_else(|| {
                    Problem::invalid("limit", "invalid", format!("must be 1 to {MAX_LIMIT}"))
                })?
            }
        };
        let cursor = one(query, "cursor")?.map(|text| {
            text.parse().map_err(|_| {
                Problem::invalid("cursor", "invalid", "must be the nextCursor of an earlier answer")
            })
        });
        Ok(Self { limit, cursor: cursor.transpose()? })
    }
}

/// A parameter that may be given once.
pub(crate) fn one(query: Option<&str>, name: &'static str) -> Result<Option<String>, Problem> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut values = pairs.filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let value = values.next();
    if values.next().is_some() {
        return Err(Problem::invalid(name, "duplicate_field", "is given twice"));
    }
    Ok(value)
}

/// A parameter that is `true` or `false`; absent is `false`.
pub(crate) fn flag(query: Option<&str>, name: &'static str) -> Result<bool, Problem> {
    match one(query, name)?.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::invalid(name, "invalid", "must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use serde::Deserialize;

    use super::*;

    async fn read<T: FromRequestParts<(), Rejection = ApiError>>(uri: &str) -> Result<T, (u16, String)> {
        let (mut parts, ()) = Request::builder().uri(uri).body(()).unwrap().into_parts();
        T::from_request_parts(&mut parts, &()).await.map_err(|error| match error {
            ApiError::Problem(problem) => (
                problem.status().as_u16(),
                problem.errors().first().map_or(String::new(), |e| e.field.clone()),
            ),
            ApiError::DryRun(_) => (0, String::new()),
        })
    }

    #[tokio::test]
    async fn a_page_has_its_bounds() {
        let id = Uuid::now_v7();
        let page: Page = read(&format!("/x?limit=200&cursor={id}&other=1")).await.unwrap();
        assert_eq!(page, Page { limit: 200, cursor: Some(id) });
        assert_eq!(read::<Page>("/x").await, Ok(Page { limit: 50, cursor: None }));
        for (uri, field) in [
            ("/x?limit=0", "limit"),
            ("/x?limit=201", "limit"),
            ("/x?limit=1&limit=2", "limit"),
            ("/x?limit=a", "limit"),
            ("/x?cursor=%00", "cursor"),
            ("/x?cursor=7", "cursor"),
        ] {
            assert_eq!(read::<Page>(uri).await, Err((422, field.to_owned())), "{uri}");
        }
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended() {
        let ids: Vec<Uuid> = (1..=5).rev().map(Uuid::from_u128).collect();
        let first = Page { limit: 2, cursor: None };
        let (items, next) = first.cut_whole(ids.clone(), |id| *id);
        assert_eq!(items, ids[..2]);
        let second = Page { limit: 3, cursor: next.map(|next| next.parse().unwrap()) };
        assert_eq!(second.cut_whole(ids.clone(), |id| *id), (ids[2..].to_vec(), None));
    }

    #[tokio::test]
    async fn a_wrong_parameter_is_named() {
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Filter {
            how_many: u8,
        }
        assert_eq!(read::<Query<Filter>>("/x?howMany=3&dryRun=true").await.unwrap().0.how_many, 3);
        assert_eq!(read::<Query<Filter>>("/x?howMany=a").await.unwrap_err(), (422, "howMany".to_owned()));
        assert_eq!(read::<Query<Filter>>("/x").await.unwrap_err(), (422, "howMany".to_owned()));
        assert_eq!(read::<Query<Filter>>("/x?howMany=%00").await.unwrap_err().0, 422);
        assert_eq!(flag(Some("dryRun=yes"), "dryRun").unwrap_err().errors()[0].field, "dryRun");
    }
}
