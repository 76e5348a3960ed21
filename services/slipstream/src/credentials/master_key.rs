//! The master key in the data directory, which all secrets in it hang on.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::TryRng as _;
use slipstream_core::sealing::{KEY_BYTES, MasterKey};
use slipstream_service::config::SecretsConfig;
use zeroize::Zeroizing;

use super::write_private;
use crate::data_dir::DataDir;

/// The key.
const CURRENT: &str = "master.key";
/// The one that is to take its place, while `rotate-master-key` is at it.
const NEXT: &str = "master.key.next";

/// Where the key is.
pub(crate) fn file(data: &DataDir) -> PathBuf {
    data.file(CURRENT)
}

/// Where the key is; made if it is not there. A rotation that was not finished leaves a second one, which opens too.
///
/// `has_secrets` tells whether the data holds secrets already: they were sealed under a key that is gone then, and another
/// would not bring them back.
///
/// # Errors
/// When it is missing and must not be, or cannot be written.
pub(crate) fn find_or_make(data: &DataDir, has_secrets: bool) -> anyhow::Result<SecretsConfig> {
    let (current, next) = (file(data), data.file(NEXT));
    if !current.exists() {
        anyhow::ensure!(
            !has_secrets,
            "the master key {} is missing, and nothing else opens the secrets in {}: put it back",
            current.display(),
            data.root().display()
        );
        write_private(&current, new_key().as_bytes())?;
    }
    Ok(SecretsConfig { master_key_file: Some(current), previous_master_key_file: next.exists().then_some(next) })
}

/// Puts the key that is to come beside the present one: that of the file `new`, or a new one. One that a rotation left there
/// is taken up again. Says where it is.
///
/// # Errors
/// When `new` holds no key, or another one than was left there.
pub(crate) fn prepare_next(data: &DataDir, new: Option<&Path>) -> anyhow::Result<PathBuf> {
    let next = data.file(NEXT);
    let given = new.map(read).transpose()?;
    match std::fs::read_to_string(&next).map(Zeroizing::new) {
        Ok(begun) => {
            let id = |text: &str| MasterKey::parse(text).map(|key| key.id());
            let is_same = given.is_none_or(|given| id(&given) == id(&begun));
            anyhow::ensure!(
                is_same,
                "a rotation to the key in {} was begun and not finished: finish it first, without --new",
                next.display()
            );
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            write_private(&next, given.unwrap_or_else(new_key).as_bytes())?;
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", next.display())),
    }
    Ok(next)
}

/// Puts the key that was to come in the place of the present one.
///
/// # Errors
/// When the files cannot be written.
pub(crate) fn finish_next(data: &DataDir) -> anyhow::Result<()> {
    let (current, next) = (file(data), data.file(NEXT));
    let renamed = std::fs::rename(&next, &current).and_then(|()| std::fs::File::open(data.root())?.sync_all());
    renamed.with_context(|| format!("cannot put {} in the place of {}", next.display(), current.display()))
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = Zeroizing::new(text);
    MasterKey::parse(&text).with_context(|| format!("{} holds no master key", path.display()))?;
    Ok(text)
}

/// The text of a new key.
fn new_key() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    let random = rand::rngs::SysRng.try_fill_bytes(bytes.as_mut_slice());
    random.expect("an operating system without randomness cannot make a key");
    Zeroizing::new(format!("{}\n", STANDARD.encode(bytes.as_slice())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use slipstream_service::Vault;

    use super::*;

    #[tokio::test]
    async fn the_key_is_made_once_is_private_and_is_not_made_anew_where_it_is_needed() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).await.unwrap();
        let error = find_or_make(&data, true).unwrap_err().to_string();
        assert!(error.contains("master.key is missing") && !file(&data).exists(), "{error}");
        let made = find_or_make(&data, false).unwrap();
        let id = Vault::open(&made).unwrap().master_id();
        assert_eq!(std::fs::metadata(file(&data)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Vault::open(&find_or_make(&data, true).unwrap()).unwrap().master_id(), id);
        assert_eq!(made.previous_master_key_file, None);
    }

    #[tokio::test]
    async fn a_rotation_that_was_begun_is_finished_with_its_own_key() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).await.unwrap();
        find_or_make(&data, false).unwrap();
        let next = prepare_next(&data, None).unwrap();
        let begun = std::fs::read_to_string(&next).unwrap();
        assert_eq!(find_or_make(&data, true).unwrap().previous_master_key_file.as_ref(), Some(&next));
        let other = root.path().join("other");
        std::fs::write(&other, new_key().as_bytes()).unwrap();
        let error = prepare_next(&data, Some(&other)).unwrap_err().to_string();
        assert!(error.contains("not finished"), "{error}");
        prepare_next(&data, None).unwrap();
        finish_next(&data).unwrap();
        assert_eq!(std::fs::read_to_string(file(&data)).unwrap(), begun);
        assert!(!next.exists());
        std::fs::write(&other, "no key").unwrap();
        assert!(prepare_next(&data, Some(&other)).is_err() && !next.exists());
    }
}
