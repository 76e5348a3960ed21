//! The file of a master key.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use slipstream_core::sealing::MasterKey;
use zeroize::Zeroizing;

use super::VaultError;

/// Bytes of a file that are read: far more than the longest form of a key, and little enough for a path that leads to
/// something endless.
const FILE_BYTES_MAX: u64 = 1024;
/// What the group or the world may do with a file.
const OTHERS: u32 = 0o077;

/// The master key in the file at `path`.
pub(super) fn read(path: &Path) -> Result<MasterKey, VaultError> {
    let failed = |source| VaultError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    // Not refused: what an orchestrator mounts for one container only is often readable by all in it.
    if mode & OTHERS != 0 {
        let mode = format!("{:04o}", mode & 0o7777);
        tracing::warn!(path = %path.display(), mode, "the master key file may be read by others than its owner");
    }
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
    match file.take(FILE_BYTES_MAX).read_to_string(&mut text) {
        // Not text at all.
        Err(error) if error.kind() == ErrorKind::InvalidData => text.clear(),
        Err(error) => return Err(failed(error)),
        Ok(_) => {}
    }
    MasterKey::parse(&text).map_err(|source| VaultError::BadFile { path: path.to_owned(), source })
}
