//! What a command line may know of where it runs. Settings of services are read by `service::config` only.

use std::ffi::OsString;

/// The value of a variable; one that is empty counts as not set.
#[expect(clippy::disallowed_methods, reason = "a command line follows PATH, HOME, NO_COLOR and the like")]
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
