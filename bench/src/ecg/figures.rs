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
    /// Over HTTP, on PostgreSQL.
    pub(crate) http: Http,
}

/// What was asked of the activity log over HTTP.
#[derive(Debug, Serialize)]
pub(crate) struct Http {
    /// The requests.
    pub(crate) requests: Vec<Request>,
    /// The most memory that the service held meanwhile, in MiB.
    pub(crate) peak_mib: f64,
}

/// One page, asked for often.
#[derive(Debug, Serialize)]
pub(crate) struct Request {
    /// What is asked for.
    pub(crate) name: String,
    /// How many ask at the same time.
    pub(crate) callers: usize,
    /// Activities of an answer.
    pub(crate) items: usize,
    /// Answers that said to come again later: 503.
    pub(crate) busy: u64,
    /// Pages per second, of all callers.
    pub(crate) per_second: f64,
    /// How long the others took, from request to the end of the answer.
    pub(crate) latency: Option<Latency>,
}

impl Http {
    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("PostgreSQL, over HTTP: at most {:.0} MiB in the activity log\n", self.peak_mib);
        for Request { name, callers, items, busy, per_second, latency } in &self.requests {
            let latency = latency.map_or_else(
                || "-".to_owned(),
                |it| format!("p50 {:>7.2} ms   p99 {:>7.2} ms   max {:>7.2} ms", it.p50_ms, it.p99_ms, it.max_ms),
            );
            // A String takes all.
            let _ = writeln!(
                text,
                "  {callers:>2} at once  {name:<60} {items:>3} items   {latency}   {per_second:>6.0}/s   {busy} busy"
            );
        }
        text
    }
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
