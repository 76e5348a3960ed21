//! What a receiver has seen and how it answers.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use http::Method;
use tokio::sync::watch;

use super::Received;
use super::reply::Reply;

pub(super) type Script = Arc<dyn Fn(&Received, usize) -> Reply + Send + Sync>;

pub(super) type ConsentScript = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

/// Lines of a failure's summary.
const SUMMARY_LINES_MAX: usize = 50;

/// Shared between the receiver's thread and the test's.
#[derive(Default)]
pub(super) struct State {
    seen: Mutex<Seen>,
    scripts: Mutex<Scripts>,
    arrivals: watch::Sender<()>,
    connections: AtomicUsize,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Arc<Received>>,
    counts: HashMap<String, usize>,
    /// What asked for consent: in none of the above.
    consents: Vec<Arc<Received>>,
}

#[derive(Default)]
struct Scripts {
    any: Option<Script>,
    paths: HashMap<String, Script>,
    consent: Option<ConsentScript>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("received", &self.count()).finish_non_exhaustive()
    }
}

/// Counts one request as being answered until dropped.
pub(super) struct InFlight<'a>(&'a State);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl State {
    pub(super) fn set_script(&self, path: Option<&str>, script: Script) {
        let mut scripts = self.scripts();
        match path {
            Some(path) => drop(scripts.paths.insert(path.to_owned(), script)),
            None => scripts.any = Some(script),
        }
    }

    pub(super) fn set_consent(&self, script: ConsentScript) {
        self.scripts().consent = Some(script);
    }

    /// Keeps a request and gives the answer to it, which is under way until the guard is dropped. A request for consent
    /// is not counted as such.
    pub(super) fn take(&self, request: Received) -> (Reply, Option<InFlight<'_>>) {
        if request.method == Method::OPTIONS {
            return (self.take_consent(request), None);
        }
        let answering = self.answering();
        (self.take_delivery(request), Some(answering))
    }

    fn take_consent(&self, request: Received) -> Reply {
        let request = Arc::new(request);
        self.seen().consents.push(Arc::clone(&request));
        let script = self.scripts().consent.as_ref().map(Arc::clone);
        script.map_or_else(Reply::granted, |script| script(&request))
    }

    fn take_delivery(&self, request: Received) -> Reply {
        let request = Arc::new(request);
        let nth = {
            let mut seen = self.seen();
            seen.requests.push(Arc::clone(&request));
            let count = seen.counts.entry(request.path.clone()).or_default();
            *count += 1;
            *count - 1
        };
        self.arrivals.send_replace(());
        let script = {
            let scripts = self.scripts();
            scripts.paths.get(&request.path).or(scripts.any.as_ref()).map(Arc::clone)
        };
        script.map_or_else(Reply::ok, |script| script(&request, nth))
    }

    pub(super) fn received(&self, wanted: impl Fn(&Received) -> bool) -> Vec<Arc<Received>> {
        self.seen().requests.iter().filter(|request| wanted(request)).map(Arc::clone).collect()
    }

    pub(super) fn consents(&self) -> Vec<Arc<Received>> {
        self.seen().consents.clone()
    }

    pub(super) fn count(&self) -> usize {
        self.seen().requests.len()
    }

    pub(super) fn count_at(&self, path: Option<&str>) -> usize {
        let seen = self.seen();
        path.map_or(seen.requests.len(), |path| seen.counts.get(path).copied().unwrap_or(0))
    }

    pub(super) fn clear(&self) {
        *self.seen() = Seen::default();
    }

    pub(super) fn arrivals(&self) -> watch::Receiver<()> {
        self.arrivals.subscribe()
    }

    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn answering(&self) -> InFlight<'_> {
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.in_flight_max.fetch_max(now, Ordering::Relaxed);
        InFlight(self)
    }

    pub(super) fn in_flight_max(&self) -> usize {
        self.in_flight_max.load(Ordering::Relaxed)
    }

    /// One line for each of the first requests.
    pub(super) fn summary(&self) -> String {
        let seen = self.seen();
        let mut text = String::new();
        for request in seen.requests.iter().take(SUMMARY_LINES_MAX) {
            let body = String::from_utf8_lossy(&request.body);
            let start: String = body.chars().take(100).collect();
            writeln!(text, "  {} {} {} {start}", request.timestamp, request.method, request.path)
                .expect("writing to a string cannot fail");
        }
        if let Some(more) = seen.requests.len().checked_sub(SUMMARY_LINES_MAX).filter(|more| *more > 0) {
            writeln!(text, "  … and {more} more").expect("writing to a string cannot fail");
        }
        text
    }

    fn scripts(&self) -> MutexGuard<'_, Scripts> {
        self.scripts.lock().expect("no script is run under this lock")
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nothing under this lock panics")
    }
}
