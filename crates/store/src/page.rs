//! Pages of a list, by keyset: a page begins after the last row of the one before, so it costs the same however deep.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_with_more_behind_it_has_a_cursor() {
        assert_eq!(Page::of(vec![1, 2, 3], 2, i32::to_string), Page { items: vec![1, 2], next: Some("2".into()) });
        assert_eq!(Page::of(vec![1, 2], 2, i32::to_string), Page { items: vec![1, 2], next: None });
    }
}
