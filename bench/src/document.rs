//! The JSON document: the last line of the output, and a file if one is named.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::{Ecg, Single};
use crate::procfs::Machine;
use crate::system::filesystem_of;
use crate::wanted::{self, Wanted};

/// A measurement with its figures.
#[derive(Debug, Serialize)]
struct Document<'a, T> {
    version: &'static str,
    machine: Machine,
    filesystem: String,
    measurement: &'a str,
    sync: &'a str,
    quick: bool,
    wanted: &'a [Wanted],
    figures: &'a T,
}

/// Prints what was wanted and got, and the document, and writes it where told.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn conclude<T: Serialize>(
    measurement: &str,
    told: &Single,
    scratch: &Path,
    wanted: &[Wanted],
    figures: &T,
) -> anyhow::Result<()> {
    print!("{}", wanted::lines(wanted));
    let document = Document {
        version: env!("CARGO_PKG_VERSION"),
        machine: Machine::this(),
        filesystem: filesystem_of(scratch),
        measurement,
        sync: &told.sync,
        quick: told.common.quick,
        wanted,
        figures,
    };
    finish(&document, told.common.json.as_deref())
}

/// The same of a measurement of the store alone.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn conclude_of_store<T: Serialize>(
    told: &Ecg,
    scratch: &Path,
    wanted: &[Wanted],
    figures: &T,
) -> anyhow::Result<()> {
    print!("{}", wanted::lines(wanted));
    let document = Document {
        version: env!("CARGO_PKG_VERSION"),
        machine: Machine::this(),
        filesystem: filesystem_of(scratch),
        measurement: "ecg",
        sync: "always",
        quick: told.quick,
        wanted,
        figures,
    };
    finish(&document, told.json.as_deref())
}

/// Prints a document as the last line of the output, and writes it where told.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn finish<T: Serialize>(document: &T, file: Option<&Path>) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(document)?);
    if let Some(file) = file {
        let text = serde_json::to_string_pretty(document)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
