//! The figures of `ecg`, for the document and for people.

use std::fmt::Write as _;

use serde::Serialize;

use crate::stats::Latency;

/// All that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Activities of the one subscription.
    pub(crate) activities: u32,
    /// One after the other.
    pub(crate) backends: Vec<Backend>,
}

/// On one backend.
#[derive(Debug, Serialize)]
pub(crate) struct Backend {
    /// Its name.
    pub(crate) name: &'static str,
    /// Writing the history.
    pub(crate) written: Written,
    /// Looking at it.
    pub(crate) questions: Vec<Question>,
}

/// What writing took, by the functions that record what the bus tells.
#[derive(Debug, Serialize)]
pub(crate) struct Written {
    /// Activities of all subscriptions.
    pub(crate) activities: u64,
    /// Per second.
    pub(crate) per_second: f64,
    /// Of the database.
    pub(crate) megabytes: Option<f64>,
}

/// One question, asked often.
#[derive(Debug, Serialize)]
pub(crate) struct Question {
    /// What is asked.
    pub(crate) name: String,
    /// Activities of an answer.
    pub(crate) items: usize,
    /// How long it took.
    pub(crate) latency: Option<Latency>,
    /// How the database finds the answer: of each statement, what looks at a table.
    pub(crate) plans: Vec<String>,
}

impl Backend {
    /// For people.
    pub(crate) fn table(&self) -> String {
        let Written { activities, per_second, megabytes } = &self.written;
        let mut text = format!("{}: {activities} activities written, {per_second:.0}/s", self.name);
        if let Some(megabytes) = megabytes {
            let _ = write!(text, ", {megabytes:.0} MB"); // a String takes all
        }
        text.push('\n');
        for Question { name, items, latency, plans } in &self.questions {
            let latency = latency.map_or_else(
                || "-".to_owned(),
                |it| format!("p50 {:>7.2} ms   p99 {:>7.2} ms   max {:>7.2} ms", it.p50_ms, it.p99_ms, it.max_ms),
            );
            let _ = writeln!(text, "  {name:<52} {items:>4} items   {latency}");
            for plan in plans {
                let _ = writeln!(text, "      {plan}");
            }
        }
        text
    }
}
