//! Where tests find programs and directories; the only place here that reads the environment.

use std::path::{Path, PathBuf};

/// The value of an environment variable; none if it is unset or empty.
#[expect(clippy::disallowed_methods, reason = "tests are configured by the Makefile through a few variables")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The workspace's root directory: the nearest one upward that holds `Cargo.lock`.
///
/// Starts from `CARGO_MANIFEST_DIR` (set by cargo and nextest for the test's own crate), else from where this crate
/// was compiled, so that a test program also runs by itself.
pub fn workspace() -> PathBuf {
    let start = variable("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&start)
        .ancestors()
        .find(|directory| directory.join("Cargo.lock").exists())
        .unwrap_or_else(|| panic!("no Cargo.lock in {start} or any directory above"))
        .to_owned()
}

/// The first program called `name` in the directories of `PATH`.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = variable("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}
