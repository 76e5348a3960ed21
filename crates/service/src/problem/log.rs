//! Each failure is logged once, where its answer is written; a storm of them is cut.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use slipstream_core::trace::TraceContext;

use super::ApiError;

/// Failures logged per second; beyond, they are counted only. When the bus is away, every request fails alike.
const PER_SECOND_MAX: u32 = 20;

struct Window {
    began: Option<Instant>,
    logged: u32,
    left_out: u64,
}

static WINDOW: Mutex<Window> = Mutex::new(Window { began: None, logged: 0, left_out: 0 });

/// Whether to log one more now, and how many were left out before it.
fn admit(window: &mut Window, now: Instant) -> Option<u64> {
    if window.began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
        (window.began, window.logged) = (Some(now), 0);
    }
    if window.logged == PER_SECOND_MAX {
        window.left_out += 1;
        return None;
    }
    window.logged += 1;
    Some(std::mem::take(&mut window.left_out))
}

/// Logs a 5xx with its cause: 500 as an error (somebody should look), 503 as a warning (we coped).
pub(super) fn failure(error: &ApiError, trace: TraceContext) {
    let Some(left_out) = admit(&mut WINDOW.lock().unwrap_or_else(PoisonError::into_inner), Instant::now()) else {
        return;
    };
    let status = error.problem.kind.status();
    let detail = error.problem.detail.as_ref();
    let cause = error.cause.as_ref().map(|cause| format!("{cause:#}"));
    if status == 503 {
        tracing::warn!(
            http.response.status_code = status, trace.parent = %trace, detail, cause, log.left_out = left_out,
            "request refused",
        );
    } else {
        tracing::error!(
            http.response.status_code = status, trace.parent = %trace, detail, cause, log.left_out = left_out,
            "request failed",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_cut_and_counted() {
        let mut window = Window { began: None, logged: 0, left_out: 0 };
        let start = Instant::now();
        let logged = (0..100).filter(|_| admit(&mut window, start).is_some()).count();
        assert_eq!(logged, PER_SECOND_MAX as usize);
        assert_eq!(admit(&mut window, start + Duration::from_secs(1)), Some(80));
        assert_eq!(admit(&mut window, start + Duration::from_secs(1)), Some(0));
    }
}
