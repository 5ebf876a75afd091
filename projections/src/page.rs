//! Long lists in pages, newest first. A page goes on where the last one ended, whatever was added meanwhile.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many items at most; the caller has checked it.
    pub limit: i64,
    /// Where the page before ended; the newest when absent.
    pub cursor: Option<Cursor>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Where the next page begins; nothing follows when absent.
    pub next: Option<Cursor>,
}

/// A place in a list. Opaque to callers: its text may change with the software.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor(i64);

/// A text that no page ended with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("must be the cursor of an earlier answer")]
pub struct InvalidCursor;

impl Page {
    /// The newest `limit` items.
    pub fn first(limit: i64) -> Self {
        Self { limit, cursor: None }
    }

    /// Only what stands before this position is on the page.
    pub(crate) fn before(&self) -> i64 {
        self.cursor.map_or(i64::MAX, |Cursor(position)| position)
    }

    /// How many to read: one more than is shown tells whether anything follows.
    pub(crate) fn read(&self) -> i64 {
        self.limit.saturating_add(1)
    }
}

impl<T> Listed<T> {
    /// Cuts what was read to the page. `position` is what the list is ordered by.
    pub(crate) fn cut(mut items: Vec<T>, page: Page, position: impl Fn(&T) -> i64) -> Self {
        let limit = usize::try_from(page.limit).unwrap_or(0);
        if items.len() <= limit {
            return Self { items, next: None };
        }
        items.truncate(limit);
        let next = items.last().map(|item| Cursor(position(item)));
        Self { items, next }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let position = i64::from_str_radix(text, 16).ok().filter(|position| *position > 0);
        position.filter(|_| hex).map(Self).ok_or(InvalidCursor)
    }
}

impl TryFrom<String> for Cursor {
    type Error = InvalidCursor;

    fn try_from(text: String) -> Result<Self, InvalidCursor> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> String {
        cursor.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_where_the_next_begins() {
        let page = Page::first(2);
        let listed = Listed::cut(vec![9, 7, 4], page, |position| *position);
        assert_eq!(listed.items, [9, 7]);
        let next = Page { limit: 2, cursor: listed.next };
        assert_eq!(next.before(), 7);
        assert_eq!(Listed::cut(vec![4], next, |position| *position).next, None);
    }

    #[test]
    fn a_cursor_survives_its_text_and_nothing_else_is_one() {
        let cursor = Cursor(1_234_567);
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "7", "000000000000000g", "+00000000000000f", "0000000000000000", "ffffffffffffffff"] {
            assert_eq!(bad.parse::<Cursor>(), Err(InvalidCursor), "{bad}");
        }
    }
}
