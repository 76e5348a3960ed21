//! What one needs to know to talk to a running `slipstream up`, kept in the data directory for its owner's eyes only.

pub(crate) mod master_key;

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use slipstream_service::config::SECRET_LEN_MIN;
use zeroize::Zeroizing;

use crate::data_dir::DataDir;

/// The file that says where a running one answers.
const RUNNING: &str = "running.json";
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// A running `slipstream up`. Does not print: it holds secrets.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Running {
    /// `http://127.0.0.1:8080`, without a slash at the end.
    pub(crate) url: String,
    /// Where the operator API is, likewise.
    pub(crate) operator_url: String,
    /// The demo site.
    pub(crate) site: String,
    /// The demo account's key.
    pub(crate) api_key: String,
    /// For `/admin/v1`.
    pub(crate) operator_token: String,
    /// Whether it takes the tokens that `slipstream ecg-token` makes.
    #[serde(default)]
    pub(crate) makes_ecg_tokens: bool,
}

impl Running {
    /// What the running one in `root` wrote; none if there is none.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub(crate) fn find(root: &Path) -> anyhow::Result<Option<Self>> {
        let path = root.join(RUNNING);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let running = serde_json::from_slice(&bytes);
                running.map(Some).with_context(|| format!("{} is not what `slipstream up` writes", path.display()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// As [`Running::find`], when there must be one.
    ///
    /// # Errors
    /// When there is none, saying `what_else` would do.
    pub(crate) fn require(root: &Path, what_else: &str) -> anyhow::Result<Self> {
        Self::find(root)?
            .with_context(|| format!("no `slipstream up` is running on {}: start one, or {what_else}", root.display()))
    }

    /// Where that is told.
    pub(crate) fn file(data: &DataDir) -> PathBuf {
        data.file(RUNNING)
    }

    /// Tells others where we answer.
    pub(crate) fn announce(&self, data: &DataDir) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self).context("credentials always serialise")?;
        write_private(&Self::file(data), &text)
    }

    /// Takes it back.
    pub(crate) fn withdraw(data: &DataDir) {
        // Not there, or it will be replaced at the next start.
        let _ = std::fs::remove_file(Self::file(data));
    }
}

/// The operator's token.
///
/// # Errors
/// When the file cannot be read or written, or holds no token.
pub(crate) fn operator_token(data: &DataDir) -> anyhow::Result<String> {
    token(data, "operator-token").map(|token| token.to_string())
}

/// The token in the file `name` of the data directory: made at the first start, the same ever after.
///
/// # Errors
/// When the file cannot be read or written, or holds no token.
pub(crate) fn token(data: &DataDir, name: &str) -> anyhow::Result<Zeroizing<String>> {
    let path = data.file(name);
    match std::fs::read_to_string(&path).map(Zeroizing::new) {
        Ok(text) => {
            let token = text.trim();
            anyhow::ensure!(
                token.len() >= SECRET_LEN_MIN && token.bytes().all(|byte| byte.is_ascii_graphic()),
                "{} must hold one token of at least {SECRET_LEN_MIN} visible characters",
                path.display()
            );
            Ok(Zeroizing::new(token.to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let token = Zeroizing::new(URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>()));
            write_private(&path, format!("{}\n", *token).as_bytes())?;
            Ok(token)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes a file that only its owner may read: whole or not at all, so that a crash leaves no half token. When this
/// returns, a power cut does not take it away any more: what hangs on a master key may be on disk right after.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        // A draft that a crash left behind may be open to others.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        // The name is the directory's content, not the file's.
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_operators_token_is_made_once_and_is_private() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).await.unwrap();
        let token = operator_token(&data).unwrap();
        assert_eq!(token.len(), 43);
        assert_eq!(operator_token(&data).unwrap(), token);
        let mode = std::fs::metadata(data.file("operator-token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(data.file("operator-token"), "short").unwrap();
        assert!(operator_token(&data).unwrap_err().to_string().contains("operator-token"));
    }

    #[tokio::test]
    async fn what_is_written_is_private_even_over_a_draft_that_was_not() {
        let root = tempfile::tempdir().unwrap();
        let (path, draft) = (root.path().join("token"), root.path().join("token.new"));
        std::fs::write(&draft, "left behind, and longer than what is written").unwrap();
        std::fs::set_permissions(&draft, Permissions::from_mode(0o644)).unwrap();
        write_private(&path, b"canary").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"canary");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!draft.exists());
    }

    #[tokio::test]
    async fn a_running_one_is_found_until_it_has_stopped() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).await.unwrap();
        let error = Running::require(root.path(), "wait").err().unwrap().to_string();
        assert!(error.contains("start one, or wait"), "{error}");
        let text = |name: &str| name.to_owned();
        let running = Running {
            url: text("u"),
            operator_url: text("o"),
            site: text("s"),
            api_key: text("k"),
            operator_token: text("t"),
            makes_ecg_tokens: true,
        };
        running.announce(&data).unwrap();
        assert_eq!(Running::require(root.path(), "wait").unwrap().api_key, "k");
        Running::withdraw(&data);
        assert!(Running::find(root.path()).unwrap().is_none());
    }
}
