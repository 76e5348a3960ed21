//! Tokens of issuers on the Slipstream surface (SPEC 5.1 `azure_auth`): from what a token says to what its holder may do.

use std::borrow::Cow;

use slipstream_core::problem::{Problem, ProblemKind};
use url::form_urlencoded;

use super::Principal;
use super::authorization::unauthorized;
use super::principal::TokenCaller;
use super::token::{TokenError, Verifier};
use crate::config::Secret;

/// The query parameter that carries a token on S1 (RFC 6750, 2.3).
pub(crate) const ACCESS_TOKEN: &str = "access_token";

/// The token in a query, if there is one. The same one twice counts once.
///
/// # Errors
/// 401, when there are two different ones.
pub(crate) fn in_query(query: &str) -> Result<Option<Cow<'_, str>>, Problem> {
    let mut tokens = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == ACCESS_TOKEN);
    let Some((_, token)) = tokens.next() else { return Ok(None) };
    if tokens.any(|(_, other)| other != token) {
        return Err(unauthorized("two different tokens were given in the query"));
    }
    Ok(Some(token))
}

/// The holder of `token`.
///
/// # Errors
/// 401 when it is not good.
pub(super) async fn verify(verifier: &Verifier, token: &Secret) -> Result<Principal, Problem> {
    let claims = verifier.verify(token.expose()).await.map_err(refused)?;
    let rights = verifier.rights(&claims);
    Ok(Principal::of_token(TokenCaller::new(claims.issuer_name, claims.subject, rights)))
}

/// Tells the rule that a token breaks, and nothing of the token.
pub(super) fn refused(error: TokenError) -> Problem {
    Problem::new(ProblemKind::Unauthorized, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_query_is_found_once() {
        let found = |query| in_query(query).map(|token| token.map(Cow::into_owned));
        assert_eq!(found("a=1&access_token=x%2Ey&b=2"), Ok(Some("x.y".into())));
        assert_eq!(found("access_token=x&access_token=x"), Ok(Some("x".into())));
        assert_eq!(found("a=access_token&ACCESS_TOKEN=x"), Ok(None));
        assert!(found("access_token=x&access_token=y").is_err());
    }
}
