//! What happened when, and whether it was right.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::console::{Style, say};

/// The demo's clock and its record of checks. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    began: Instant,
    checks: Arc<Mutex<Checks>>,
}

#[derive(Debug, Default)]
struct Checks {
    passed: usize,
    failed: Vec<String>,
}

impl Timeline {
    /// Time runs from now on.
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), checks: Arc::default() }
    }

    /// Says what is coming.
    pub(super) fn chapter(title: &str) {
        say(format_args!("\n{}", Style::Strong.paint(title)));
    }

    /// Prints what happened, with the time since the beginning.
    pub(super) fn note(&self, what: &str, style: Option<Style>, text: impl Display) {
        let at = Style::Faint.paint(format_args!("{:>7.3} s", self.began.elapsed().as_secs_f64()));
        let what = format!("{what:<10}");
        let what = style.map_or(what.clone(), |style| style.paint(&what));
        say(format_args!("{at}  {what}  {text}"));
    }

    /// Records whether `claim` holds, and says so.
    pub(super) fn check(&self, holds: bool, claim: impl Display) {
        let mut checks = self.checks();
        if holds {
            checks.passed += 1;
            say(format_args!("{:>9}  {}  {claim}", "", Style::Good.paint("checked   ")));
        } else {
            checks.failed.push(claim.to_string());
            say(format_args!("{:>9}  {}  {claim}", "", Style::Bad.paint("FAILED    ")));
        }
    }

    /// As [`Timeline::check`], but says so only if it does not hold.
    pub(super) fn check_quietly(&self, holds: bool, claim: impl Display) {
        if holds {
            self.checks().passed += 1;
        } else {
            self.check(false, claim);
        }
    }

    /// The end of the demo.
    ///
    /// # Errors
    /// When a check failed, naming all that did.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        let checks = self.checks();
        let took = self.began.elapsed().as_secs_f64();
        if checks.failed.is_empty() && checks.passed > 0 {
            let text = format!("All {} checks passed, {took:.1} s.", checks.passed);
            say(format_args!("\n{}", Style::Good.paint(text)));
            return Ok(());
        }
        anyhow::bail!(
            "{} of {} checks failed:\n  - {}",
            checks.failed.len(),
            checks.failed.len() + checks.passed,
            checks.failed.join("\n  - ")
        )
    }

    fn checks(&self) -> MutexGuard<'_, Checks> {
        // A count and a list of texts are whole at any time.
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_check_fails_the_demo_and_is_named() {
        let timeline = Timeline::begin();
        timeline.check(true, "water is wet");
        timeline.verdict().unwrap();
        timeline.check(false, "pigs fly");
        let error = timeline.verdict().unwrap_err().to_string();
        assert!(error.contains("1 of 2") && error.contains("pigs fly"), "{error}");
    }

    #[test]
    fn a_demo_that_checked_nothing_has_failed() {
        assert!(Timeline::begin().verdict().is_err());
    }
}
