//! The server's configuration file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::BrokerOptions;
use crate::credentials::write_private;

/// When the broker writes to disk (DESIGN 3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sync {
    /// Before each acknowledgement: what was accepted survives a power cut.
    #[default]
    Always,
    /// Every so often: a power cut loses what came since. A crash of a process loses nothing either way.
    Every(Duration),
}

impl FromStr for Sync {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "always" {
            return Ok(Self::Always);
        }
        let every =
            humantime::parse_duration(text).map_err(|error| format!("`always`, or a time as 100ms: {error}"))?;
        let limits = Duration::from_millis(1)..=Duration::from_mins(2);
        if limits.contains(&every) { Ok(Self::Every(every)) } else { Err("a time from 1ms to 2m".to_owned()) }
    }
}

impl fmt::Display for Sync {
    /// As the server's setting has it: `always` or whole milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Every(every) => write!(f, "{}ms", every.as_millis()),
        }
    }
}

/// One server's settings.
pub(super) struct ServerConfig<'a> {
    pub(super) directory: &'a Path,
    pub(super) port: u16,
    /// What every client has to show: other users of this machine reach the port too.
    pub(super) token: &'a str,
    pub(super) options: &'a BrokerOptions,
}

impl ServerConfig<'_> {
    pub(super) fn path(&self) -> PathBuf {
        path(self.directory)
    }

    /// Writes the file anew, for its owner's eyes only: it is ours, and every start decides it again.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        write_private(&self.path(), self.text().as_bytes())
    }

    fn text(&self) -> String {
        let Self { directory, port, token, options } = self;
        format!(
            "# Written by `slipstream` at each start; changes are lost.\n\
             server_name: slipstream\n\
             listen: \"127.0.0.1:{port}\"\n\
             authorization {{\n  token: \"{token}\"\n}}\n\
             log_file: {log}\n\
             logfile_size_limit: 10MB\n\
             logfile_max_num: 3\n\
             jetstream {{\n  \
               store_dir: {store}\n  \
               sync_interval: \"{sync}\"\n  \
               max_file_store: {max_file_store}\n\
             }}\n",
            log = quoted(&log_path(directory)),
            store = quoted(&directory.join("store")),
            sync = options.sync,
            max_file_store = options.max_file_store_bytes,
        )
    }
}

/// The configuration file of a server in `directory`.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join("nats-server.conf")
}

/// The log of a server in `directory`.
pub(super) fn log_path(directory: &Path) -> PathBuf {
    directory.join("nats-server.log")
}

/// A path as a string of the server's configuration language.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_setting_is_always_or_a_time() {
        assert_eq!("always".parse(), Ok(Sync::Always));
        assert_eq!("100ms".parse(), Ok(Sync::Every(Duration::from_millis(100))));
        assert_eq!("2s".parse::<Sync>().unwrap().to_string(), "2000ms");
        for wrong in ["", "never", "100", "0ms", "1h", "-1s"] {
            assert!(wrong.parse::<Sync>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_file_demands_the_token_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let options = BrokerOptions { sync: Sync::Always, max_file_store_bytes: 1 << 30 };
        let config = ServerConfig { directory: directory.path(), port: 4222, token: "t0ken", options: &options };
        // As an earlier release left it.
        std::fs::write(config.path(), "").unwrap();
        config.write().unwrap();
        let text = std::fs::read_to_string(config.path()).unwrap();
        assert!(text.contains("authorization {\n  token: \"t0ken\"\n}\n"), "{text}");
        assert_eq!(std::fs::metadata(config.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_path_with_odd_characters_stays_one_string() {
        assert_eq!(quoted(Path::new(r#"/a "b"\c"#)), r#""/a \"b\"\\c""#);
    }
}
