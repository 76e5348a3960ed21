//! Pages of a list, by keyset: a page begins after the last row of the one before, so it costs the same however deep.
//!
//! A page of rows with long texts ends early (N9): their keys and lengths are asked for first, and then only the rows
//! that fit.

/// Bytes of text after which a page ends; its last row may go beyond.
pub(crate) const TEXT_BYTES_MAX: i64 = 1024 * 1024;

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most as many rows as asked for.
    pub items: Vec<T>,
    /// Where the next page begins; none after the last one.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The page of `limit` rows out of `rows`, which holds one more if there is a next page.
    pub(crate) fn of(mut rows: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(cursor);
        Self { items: rows, next }
    }
}

/// How many of `rows` fit a page of at most `limit` by their bytes of text: all up to the one with which it is full, so
/// one at least.
pub(crate) fn fitting<T>(rows: &[T], limit: usize, bytes: impl Fn(&T) -> i64) -> usize {
    let mut total = 0;
    let before = |row: &&T| {
        let is_room = total < TEXT_BYTES_MAX;
        total += bytes(row);
        is_room
    };
    rows.iter().take(limit).take_while(before).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_with_the_row_that_fills_it() {
        let whole = TEXT_BYTES_MAX;
        for (rows, limit, expected) in [
            (vec![], 5, 0),
            (vec![1, 1, 1], 2, 2),
            (vec![whole - 1, 1, 1], 5, 2),
            (vec![whole, 1], 5, 1),
            (vec![9 * whole, 1], 5, 1),
        ] {
            assert_eq!(fitting(&rows, limit, |bytes| *bytes), expected, "{rows:?}");
        }
    }

    #[test]
    fn only_a_page_with_more_behind_it_has_a_cursor() {
        assert_eq!(Page::of(vec![1, 2, 3], 2, i32::to_string), Page { items: vec![1, 2], next: Some("2".into()) });
        assert_eq!(Page::of(vec![1, 2], 2, i32::to_string), Page { items: vec![1, 2], next: None });
    }
}
