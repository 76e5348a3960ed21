//! The parameters of lists under `/admin/v1`: whatever is wrong is named, and nothing is ignored.
//!
//! A misspelt filter that is ignored answers with everything, and whoever asked believes it.

use std::str::FromStr;

use slipstream_core::limits::PAGE_ROWS_MAX;
use slipstream_core::problem::{Problem, ProblemKind};

/// Names and values as they stand in the query.
pub type Pairs = Vec<(String, String)>;

/// Rows of a page unless asked for otherwise.
pub const LIMIT_DEFAULT: usize = 50;

/// Hands each parameter to `set`, once.
///
/// # Errors
/// 400 naming the first parameter that is given twice, and what `set` says.
pub fn each_once(pairs: Pairs, mut set: impl FnMut(&str, String) -> Result<(), Problem>) -> Result<(), Problem> {
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in pairs {
        if seen.contains(&name) {
            return Err(bad_parameter(&name, "is given twice"));
        }
        set(&name, value)?;
        seen.push(name);
    }
    Ok(())
}

/// 400: the parameter `name` breaks a rule; `problem` goes on after its name.
pub fn bad_parameter(name: &str, problem: &str) -> Problem {
    // The name may be a stranger's: enough of it to be recognised.
    let name: String = name.chars().take(64).collect();
    Problem::new(ProblemKind::BadRequest, format!("query parameter `{name}` {problem}"))
}

/// 400: there is no parameter `name`; `known` is what there is, in words.
pub fn unknown_parameter(name: &str, known: &str) -> Problem {
    bad_parameter(name, &format!("is not known; known are {known}"))
}

/// A value of any type that reads itself.
///
/// # Errors
/// 400 naming the parameter and `rule`.
pub fn parse<T: FromStr>(name: &str, value: &str, rule: &str) -> Result<T, Problem> {
    value.parse().map_err(|_| bad_parameter(name, rule))
}

/// The value of `limit`: rows of a page, 1 to [`PAGE_ROWS_MAX`].
///
/// # Errors
/// 400 if it is anything else.
pub fn parse_limit(value: &str) -> Result<usize, Problem> {
    let limit = value.parse().ok().filter(|limit| (1..=PAGE_ROWS_MAX).contains(limit));
    limit.ok_or_else(|| bad_parameter("limit", &format!("must be a number from 1 to {PAGE_ROWS_MAX}")))
}

/// 400: `cursor` is not one that we gave.
pub fn bad_cursor() -> Problem {
    bad_parameter("cursor", "must be the `next` of an earlier answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_outside_the_bounds_are_refused() {
        for limit in ["0", "101", "-1", "x", ""] {
            assert!(parse_limit(limit).is_err(), "{limit}");
        }
        assert_eq!((parse_limit("1"), parse_limit("100")), (Ok(1), Ok(100)));
    }

    #[test]
    fn a_repeated_parameter_is_refused_and_named() {
        let pairs = [("a", "1"), ("b", "2"), ("a", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut taken = Vec::new();
        let result = each_once(pairs.into(), |name, value| {
            taken.push(format!("{name}={value}"));
            Ok(())
        });
        assert_eq!(result.unwrap_err().detail, "query parameter `a` is given twice");
        assert_eq!(taken, ["a=1", "b=2"]);
    }
}
