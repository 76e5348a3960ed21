//! What was wanted, beside what was measured. For people and for the document; no exit code follows from it.

use serde::Serialize;

use crate::stats::rounded;

/// Widths of the columns.
const WHAT_WIDTH: usize = 66;
const WANTED_WIDTH: usize = 12;
const GOT_WIDTH: usize = 14;

/// One figure that somebody wants to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "beside what was got stands what was wanted")]
pub(crate) struct Wanted {
    /// What is measured.
    pub(crate) what: String,
    /// What it should be.
    pub(crate) wanted: String,
    /// What it is.
    pub(crate) got: String,
    /// Whether it is as it should be.
    pub(crate) holds: bool,
}

impl Wanted {
    /// A figure that should be no more than `limit`. One that could not be taken does not hold.
    pub(crate) fn at_most(what: impl Into<String>, limit: f64, got: Option<f64>, unit: &str) -> Self {
        Self::new(what, format!("<= {limit}{unit}"), got, unit, |got| got <= limit)
    }

    /// A figure that should be no less than `limit`. One that could not be taken does not hold.
    pub(crate) fn at_least(what: impl Into<String>, limit: f64, got: Option<f64>, unit: &str) -> Self {
        Self::new(what, format!(">= {limit}{unit}"), got, unit, |got| got >= limit)
    }

    fn new(
        what: impl Into<String>,
        wanted: String,
        got: Option<f64>,
        unit: &str,
        holds: impl FnOnce(f64) -> bool,
    ) -> Self {
        // A figure that is not a number compares as false either way.
        let text = got.map_or_else(|| "nothing".to_owned(), |got| format!("{}{unit}", rounded(got, 3)));
        Self { what: what.into(), wanted, got: text, holds: got.is_some_and(holds) }
    }
}

/// A line for each.
pub(crate) fn lines(wanted: &[Wanted]) -> String {
    let line = |it: &Wanted| {
        let Wanted { what, wanted, got, holds } = it;
        let verdict = if *holds { "holds" } else { "does not hold" };
        format!("  {what:<WHAT_WIDTH$}  wanted {wanted:<WANTED_WIDTH$} got {got:<GOT_WIDTH$} {verdict}\n")
    };
    wanted.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_on_the_limit_holds_and_one_beyond_does_not() {
        assert!(Wanted::at_most("a", 3.0, Some(3.0), "").holds);
        assert!(!Wanted::at_most("a", 3.0, Some(3.1), "").holds);
        assert!(Wanted::at_least("a", 0.9, Some(0.9), "").holds);
        assert!(!Wanted::at_least("a", 0.9, Some(0.89), "").holds);
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        assert!(!Wanted::at_most("a", 3.0, None, "").holds);
        assert!(!Wanted::at_most("a", 3.0, Some(f64::NAN), "").holds);
        assert!(!Wanted::at_least("a", 3.0, Some(f64::NAN), "").holds);
    }

    #[test]
    fn a_line_tells_wanted_and_got() {
        let text = lines(&[Wanted::at_most("early", 0.0, Some(2.0), " events")]);
        assert!(text.contains("wanted <= 0 events") && text.contains("got 2 events"), "{text}");
        assert!(text.trim_end().ends_with("does not hold"), "{text}");
    }
}
