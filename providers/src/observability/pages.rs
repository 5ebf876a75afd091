//! How a page is filled that is bounded in bytes: a few rows at a time, more when they are small.

use domain::ports::telemetry::{PAGE_BYTES, Weighs};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder};

/// Rows that are read before it is known how large they are.
const FIRST: usize = 16;
/// Rows that are read at once at most: behind small ones there may be large ones.
const MOST: usize = 64;

/// A page that is being filled.
pub(super) struct Filling<T> {
    rows: Vec<T>,
    bytes: usize,
}

impl<T: Weighs> Filling<T> {
    pub(super) fn new() -> Self {
        Self { rows: vec![], bytes: 0 }
    }

    /// How many rows to read now; none when it is full.
    pub(super) fn next(&self) -> usize {
        match PAGE_BYTES.checked_sub(self.bytes) {
            None | Some(0) => 0,
            Some(_) if self.rows.is_empty() => FIRST,
            Some(left) => (left / (self.bytes / self.rows.len() + 1)).clamp(1, MOST),
        }
    }

    /// Adds rows until it is full.
    pub(super) fn add(&mut self, rows: impl IntoIterator<Item = T>) {
        for row in rows {
            if self.bytes >= PAGE_BYTES {
                break;
            }
            self.bytes += row.weight();
            self.rows.push(row);
        }
    }

    pub(super) fn rows(self) -> Vec<T> {
        self.rows
    }
}

/// Begins a question whose rows are read by [`page`], by the name of a cursor.
pub(super) fn question(name: &str, select: String) -> QueryBuilder<'static, Postgres> {
    QueryBuilder::new(format!("DECLARE {name} NO SCROLL CURSOR FOR {select}"))
}

/// The rows of a question until the page is full: the others stay where they are. In a transaction.
pub(super) async fn page<T: Weighs>(
    db: &mut PgConnection,
    name: &str,
    mut question: QueryBuilder<'static, Postgres>,
    row: impl Fn(&PgRow) -> sqlx::Result<T>,
) -> sqlx::Result<Vec<T>> {
    question.build().persistent(false).execute(&mut *db).await?;
    let mut page = Filling::new();
    loop {
        let count = page.next();
        if count == 0 {
            break;
        }
        let some = format!("FETCH FORWARD {count} FROM {name}");
        let rows = sqlx::query(&some).persistent(false).fetch_all(&mut *db).await?;
        page.add(rows.iter().map(&row).collect::<sqlx::Result<Vec<T>>>()?);
        if rows.len() < count {
            break;
        }
    }
    sqlx::query(&format!("CLOSE {name}")).persistent(false).execute(db).await?;
    Ok(page.rows())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Of(usize);

    impl Weighs for Of {
        fn weight(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn large_rows_are_read_by_few_and_small_ones_by_many() {
        let mut small = Filling::new();
        assert_eq!(small.next(), FIRST);
        small.add((0..FIRST).map(|_| Of(100)));
        assert_eq!(small.next(), MOST);
        let mut large = Filling::new();
        large.add((0..3).map(|_| Of(PAGE_BYTES / 4)));
        assert_eq!(large.next(), 1);
        large.add((0..9).map(|_| Of(PAGE_BYTES / 4)));
        assert_eq!((large.next(), large.rows().len()), (0, 4), "the row that reaches it is the last");
        // Small, then large: what is read at once stays within some pages.
        let mut mixed = Filling::new();
        mixed.add((0..1000).map(|_| Of(1)));
        let half_a_mebibyte = 1 << 19;
        assert!(mixed.next() * half_a_mebibyte <= 4 * PAGE_BYTES, "{}", mixed.next());
        let mut one = Filling::new();
        one.add([Of(usize::MAX / 2)]);
        assert_eq!((one.next(), one.rows().len()), (0, 1));
    }
}
