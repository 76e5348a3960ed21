//! The process's metrics: one recorder, rendered by our own `/metrics` route. Several services in one process share it.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::names;

/// Bounds of the histograms' buckets, in seconds: from well below one fsync to the longest attempt (30 s).
const BUCKETS_SECONDS: [f64; 16] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 4.0, 10.0, 30.0];

/// How often what the histograms gathered is put into buckets. At 10,000 samples a second this holds 400 KiB.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Installs the recorder, once per process. Later calls find it there.
///
/// Call it before making a metric's handle: a handle made earlier counts into nothing.
pub fn install() -> &'static PrometheusHandle {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&BUCKETS_SECONDS)
            .expect("the list of buckets is not empty")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder of metrics is installed: /metrics stays empty");
        }
        describe();
        handle
    })
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(names::HTTP_SERVER_REQUEST_DURATION, "Seconds from a request's head to its answer's head");
    describe_gauge!(names::HTTP_SERVER_CONNECTIONS, "Connections open");
    describe_counter!(names::HTTP_SERVER_CONNECTIONS_REFUSED, "Connections closed as they came");
    describe_gauge!(names::HTTP_SERVER_BODY_BYTES, "Bytes of request bodies in memory");
    describe_gauge!(names::DIRECTORY_SUBSCRIPTIONS, "Subscriptions known");
    describe_counter!(names::DIRECTORY_WATCHES_LOST, "Times the watch of the config bucket was begun anew");
    describe_counter!(names::EVENTS_ACCEPTED, "Events answered with 204, repeats included");
    describe_counter!(names::EVENTS_DUPLICATE, "Accepted events that repeat an earlier one, by who found it");
    describe_counter!(names::EVENTS_DUPLICATE_MISMATCH, "Repeats whose content differs from the first event's");
    describe_counter!(names::EVENTS_NOT_LOOKED_UP, "Events routed without looking for late repeats");
    describe_counter!(names::EVENTS_ROUTED, "Events whose receivers are decided");
    describe_counter!(names::ATTEMPTS, "Attempts to deliver, by result");
    describe_histogram!(names::ATTEMPT_DURATION, "Seconds that an attempt to deliver took");
    describe_counter!(names::DELIVERIES_PARKED, "Deliveries put off without an attempt, by reason");
    describe_gauge!(names::STREAM_BACKLOG, "Messages not yet acknowledged by the slowest consumer of a stream");
    describe_counter!(names::BREAKERS_OPENED, "Endpoints that failed so often in a row that they are left alone");
    describe_gauge!(names::BREAKERS_OPEN, "Endpoints that are left alone at present");
    describe_gauge!(names::DISPATCHERS, "Dispatchers that share what receivers allow");
    describe_counter!(names::DELIVERIES_REPLAYED, "Deliveries that replay jobs made again");
    describe_counter!(names::AUDIT_ENDS_LOST, "Acts that are recorded as begun, and whose end is not");
    describe_counter!(names::OVER_QUOTA, "Requests refused because their actor is over quota");
    describe_counter!(names::HTTP_SERVER_CONNECTIONS_CUT, "Connections ended because of what their peer did");
    describe_counter!(names::ISSUER_KEYS_FETCHED, "Times a token issuer's keys were fetched, by outcome");
    describe_gauge!(names::DIRECTORY_SUBSCRIPTIONS_SEALED, "Subscriptions held back: their secrets cannot be opened");
}

/// All metrics in the Prometheus text format.
pub fn render() -> String {
    let handle = install();
    crate::http::report_bodies();
    handle.render()
}

/// Keeps the histograms small for as long as it is polled; never ends by itself.
pub async fn upkeep() {
    let handle = install();
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_counted_is_rendered_with_its_description() {
        super::install();
        metrics::counter!(super::names::DIRECTORY_WATCHES_LOST).increment(3);
        metrics::histogram!(super::names::HTTP_SERVER_REQUEST_DURATION).record(0.003);
        let text = super::render();
        assert!(text.contains("slipstream_directory_watches_lost_total 3"), "{text}");
        assert!(text.contains("# HELP slipstream_directory_watches_lost_total"), "{text}");
        assert!(text.contains(r#"http_server_request_duration_seconds_bucket{le="0.004"} 1"#), "{text}");
    }
}
