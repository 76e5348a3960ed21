//! Percentiles.

use serde::Serialize;

/// How a set of latencies is spread, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are those of the JSON document, where a unit must not miss")]
pub(crate) struct Latency {
    /// Half were at most this.
    pub(crate) p50_ms: f64,
    /// 99 % were at most this.
    pub(crate) p99_ms: f64,
    /// 99.9 % were at most this.
    pub(crate) p999_ms: f64,
    /// The longest.
    pub(crate) max_ms: f64,
}

impl Latency {
    /// Of latencies in nanoseconds; none of nothing.
    pub(crate) fn of(mut nanos: Vec<u64>) -> Option<Self> {
        nanos.sort_unstable();
        let ms = |per_mille| Some(rounded(nearest_rank(&nanos, per_mille)? as f64 / 1e6, 3));
        Some(Self { p50_ms: ms(500)?, p99_ms: ms(990)?, p999_ms: ms(999)?, max_ms: ms(1000)? })
    }
}

/// The smallest of the sorted values that at least `per_mille` thousandths of them do not exceed. In whole numbers:
/// 99.9 % of a thousand would otherwise be a little more than 999.
fn nearest_rank(sorted: &[u64], per_mille: usize) -> Option<u64> {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// `value` with at most so many decimals: more would only claim a precision that nobody measured.
pub(crate) fn rounded(value: f64, decimals: i32) -> f64 {
    let factor = 10_f64.powi(decimals);
    (value * factor).round() / factor
}

/// How many per second; 0 if no time passed.
pub(crate) fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { rounded(count as f64 / seconds, 1) } else { 0.0 }
}

/// The middle one of some values, or the mean of the two in the middle; none of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let latency = Latency::of((1..=1000).rev().map(|ms| ms * 1_000_000).collect()).unwrap();
        assert_eq!(latency, Latency { p50_ms: 500.0, p99_ms: 990.0, p999_ms: 999.0, max_ms: 1000.0 });
    }

    #[test]
    fn one_value_is_every_percentile() {
        let latency = Latency::of(vec![1_500_000]).unwrap();
        assert_eq!(latency, Latency { p50_ms: 1.5, p99_ms: 1.5, p999_ms: 1.5, max_ms: 1.5 });
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!(Latency::of(Vec::new()), None);
        assert!(rate(5, 0.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 9.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0, 9.0, 2.0]), Some(3.0));
        assert_eq!(median(Vec::new()), None);
    }
}
