//! A SQLite database in a directory of its own.

use tempfile::TempDir;

/// A fresh database: the directory that holds it (deleted when dropped) and its URL.
pub fn database() -> (TempDir, String) {
    let directory = tempfile::Builder::new().prefix("slipstream-sqlite-").tempdir().expect("a temporary directory");
    // `rwc`: the file is made at the first connection.
    let url = format!("sqlite://{}?mode=rwc", directory.path().join("test.db").display());
    (directory, url)
}
