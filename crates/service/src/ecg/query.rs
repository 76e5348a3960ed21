//! What the query of a request says.

use axum::extract::FromRequestParts;
use http::request::Parts;
use slipstream_core::problem::{Problem, ProblemKind};

use crate::list::{Pairs, bad_parameter};
use crate::problem::ApiError;

/// The parameters of the query, for handlers: whatever is wrong is 400 and named. Unknown ones are ignored (SPEC 2.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Pairs);

impl Query {
    /// The value of a parameter, if it is there.
    ///
    /// # Errors
    /// When it is given twice.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(bad_parameter(name, "is given twice")),
            (value, None) => Ok(value),
        }
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// When it is missing or given twice.
    pub fn required(&self, name: &str) -> Result<&str, Problem> {
        self.one(name)?.ok_or_else(|| bad_parameter(name, "is required"))
    }

    /// What a parameter stands for whose values are a closed set, if it is there.
    ///
    /// # Errors
    /// When it has another value, or is given twice.
    pub fn choice<T: Copy>(&self, name: &str, known: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let chosen = |value: &str| {
            let found = known.iter().find(|(it, _)| *it == value).map(|(_, meaning)| *meaning);
            found.ok_or_else(|| bad_parameter(name, &format!("must be {}", one_of(known.iter().map(|(it, _)| *it)))))
        };
        self.one(name)?.map(chosen).transpose()
    }

    /// As [`Query::choice`], of a parameter that must be there.
    ///
    /// # Errors
    /// As there, and when it is missing.
    pub fn required_choice<T: Copy>(&self, name: &str, known: &[(&str, T)]) -> Result<T, Problem> {
        self.choice(name, known)?.ok_or_else(|| bad_parameter(name, "is required"))
    }

    /// The values of a list, which is repeated or separated by commas (`include`), in no order and each once.
    ///
    /// # Errors
    /// When it has a value that is not known.
    pub fn list<T: Copy + PartialEq>(&self, name: &str, known: &[(&str, T)]) -> Result<Vec<T>, Problem> {
        let mut chosen = Vec::new();
        for value in self.all(name).flat_map(|list| list.split(',')).map(str::trim).filter(|value| !value.is_empty()) {
            let Some((_, meaning)) = known.iter().find(|(it, _)| *it == value) else {
                let known = one_of(known.iter().map(|(it, _)| *it));
                return Err(bad_parameter(name, &format!("may hold {known} only")));
            };
            if !chosen.contains(meaning) {
                chosen.push(*meaning);
            }
        }
        Ok(chosen)
    }

    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(it, _)| it == name).map(|(_, value)| value.as_str())
    }
}

/// `a, b or c`.
fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    match names.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let pairs = axum::extract::Query::try_from_uri(&parts.uri);
        let pairs = pairs.map_err(|_| Problem::new(ProblemKind::BadRequest, "the query is malformed"))?;
        Ok(Self(pairs.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        let uri = format!("/?{text}").parse().unwrap();
        let axum::extract::Query(pairs) = axum::extract::Query::try_from_uri(&uri).unwrap();
        Query(pairs)
    }

    const MODES: [(&str, u8); 2] = [("flat", 1), ("nested", 2)];

    #[test]
    fn a_parameter_is_there_once_or_not_at_all() {
        let query = query("a=1&b=&a%20b=x+y&c=1&c=1");
        assert_eq!((query.one("a"), query.one("b"), query.one("a b")), (Ok(Some("1")), Ok(Some("")), Ok(Some("x y"))));
        assert_eq!((query.one("d"), query.required("a")), (Ok(None), Ok("1")));
        assert_eq!(query.one("c").unwrap_err().detail, "query parameter `c` is given twice");
        assert_eq!(query.required("d").unwrap_err().detail, "query parameter `d` is required");
    }

    #[test]
    fn a_choice_is_one_of_what_is_known() {
        assert_eq!(query("mode=nested").required_choice("mode", &MODES), Ok(2));
        assert_eq!(query("").choice("mode", &MODES), Ok(None));
        for (text, detail) in [
            ("mode=Flat", "query parameter `mode` must be flat or nested"),
            ("mode=", "query parameter `mode` must be flat or nested"),
            ("", "query parameter `mode` is required"),
            ("mode=flat&mode=flat", "query parameter `mode` is given twice"),
        ] {
            assert_eq!(query(text).required_choice("mode", &MODES).unwrap_err().detail, detail);
        }
    }

    #[test]
    fn a_list_is_repeated_or_separated_by_commas() {
        let known = [("event", 1), ("subscription", 2), ("other", 3)];
        let list = |text| query(text).list("include", &known);
        assert_eq!(list("include=subscription,event"), Ok(vec![2, 1]));
        assert_eq!(list("include=event&include=subscription&include=event"), Ok(vec![1, 2]));
        assert_eq!((list("include="), list("")), (Ok(vec![]), Ok(vec![])));
        let refused = list("include=event,secrets").unwrap_err();
        assert_eq!(refused.detail, "query parameter `include` may hold event, subscription or other only");
    }
}
