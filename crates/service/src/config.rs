//! Where settings come from: a TOML file, then the environment, which wins.
//!
//! A variable is named after the key's path: `http.listen` is `SLIPSTREAM__HTTP__LISTEN`. A value that begins with
//! `[` or `{` is read as a TOML value, so that lists can be given too. Unknown keys are errors, whichever way they
//! came. Everything is read and checked before anything is opened, and the error names the variable or the file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use ::config::{Config, ConfigError as SourceError, File, FileFormat, Source, Value, ValueKind};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

pub mod duration;
mod secret;
mod sections;

pub use secret::{SECRET_LEN_MIN, Secret, SecretsConfig};
pub use sections::{HttpConfig, LogFormat, OperatorConfig, TelemetryConfig};

/// What every variable's name begins with.
const PREFIX: &str = "SLIPSTREAM__";
/// What stands between the parts of a variable's name.
const SEPARATOR: &str = "__";

/// Why the settings cannot be used. Tells the place, and never a secret's value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML. Says where, and not what stands there: that may be a secret.
    #[error("the config file {} is not TOML{place}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where.
        place: Place,
    },
    /// A variable's value is not UTF-8, or begins like a TOML list or table and is none.
    #[error("the value of {name} {problem}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting is missing, unknown, or has a value that does not fit.
    #[error("{place}: {problem}")]
    Setting {
        /// The setting's path, and the variable or file it came from.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Where a TOML file is wrong, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(Option<(usize, usize)>);

impl Place {
    /// The line and the column of an error of the parser, which gives them in its first line alone; what follows repeats the
    /// file's own text.
    fn of(error: &SourceError) -> Self {
        let text = error.to_string();
        let place = text.lines().next().and_then(|line| {
            let (_, place) = line.split_once("parse error at line ")?;
            let (line, column) = place.split_once(", column ")?;
            let digits = column.split(|character: char| !character.is_ascii_digit()).next()?;
            Some((line.parse().ok()?, digits.parse().ok()?))
        });
        Self(place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((line, column)) => write!(f, ": line {line}, column {column}"),
            None => Ok(()),
        }
    }
}

/// Reads the settings of a service from `file`, if there is one, and from the environment.
///
/// # Errors
/// At the first setting that is unknown, missing or malformed; see [`ConfigError`].
pub fn load<T: DeserializeOwned>(file: Option<&Path>) -> Result<T, ConfigError> {
    load_from(file, std::env::vars_os())
}

/// As [`load`], with the environment as an argument.
///
/// # Errors
/// As [`load`].
pub fn load_from<T: DeserializeOwned>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<T, ConfigError> {
    let variables = Variables::read(environment)?;
    let mut builder = Config::builder();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        let source = File::from_str(&text, FileFormat::Toml);
        // Parsed by itself first, so that its errors are told apart from those of the environment.
        source.collect().map_err(|error| ConfigError::Syntax { path: path.to_owned(), place: Place::of(&error) })?;
        builder = builder.add_source(source);
    }
    let setting = |path: &str, error: SourceError| variables.explain(path, file, &error);
    let config = builder.add_source(variables.clone()).build().map_err(|error| setting("", error))?;
    serde_path_to_error::deserialize(config).map_err(|error| {
        let path = error.path().to_string();
        setting(&path, error.into_inner())
    })
}

/// The variables of ours, by the path of the setting that each gives.
#[derive(Debug, Clone, Default)]
struct Variables(BTreeMap<String, Variable>);

#[derive(Debug, Clone)]
struct Variable {
    name: String,
    value: Value,
}

impl Variables {
    fn read(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let mut variables = Self::default();
        for (name, value) in environment {
            let Ok(name) = name.into_string() else { continue };
            let Some(path) = name.strip_prefix(PREFIX) else { continue };
            let path = path.to_lowercase().replace(SEPARATOR, ".");
            let problem = |problem: &str| ConfigError::Variable { name: name.clone(), problem: problem.to_owned() };
            let value = value.into_string().map_err(|_| problem("is not UTF-8"))?;
            let kind = if value.starts_with(['[', '{']) {
                parse_toml(&value).ok_or_else(|| problem("begins like a TOML list or table and is none"))?
            } else {
                ValueKind::String(value)
            };
            let value = Value::new(Some(&name), kind);
            variables.0.insert(path, Variable { name, value });
        }
        Ok(variables)
    }

    /// Says where the setting at `path` came from and what is wrong with it.
    fn explain(&self, path: &str, file: Option<&Path>, error: &SourceError) -> ConfigError {
        let (path, problem) = match error {
            SourceError::NotFound(key) => (key.clone(), "is required".to_owned()),
            SourceError::At { error, key, .. } => (key.clone().unwrap_or_else(|| path.to_owned()), error.to_string()),
            other => (path.to_owned(), other.to_string()),
        };
        let path = match unknown_field(&problem) {
            Some(field) if path.is_empty() || path == "." => field.to_owned(),
            Some(field) if path.rsplit('.').next() != Some(field) => format!("{path}.{field}"),
            _ => path,
        };
        // A list or table given by one variable has paths below that variable's own.
        let variable = std::iter::successors(Some(path.as_str()), |path| path.rsplit_once(['.', '[']).map(|p| p.0))
            .find_map(|path| self.0.get(path));
        let place = match (variable, file) {
            (Some(variable), _) => format!("`{path}` (from {})", variable.name),
            (None, Some(file)) => format!("`{path}` (in {}, or {})", file.display(), variable_name(&path)),
            (None, None) => format!("`{path}` ({})", variable_name(&path)),
        };
        ConfigError::Setting { place, problem }
    }
}

impl Source for Variables {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<::config::Map<String, Value>, SourceError> {
        Ok(self.0.iter().map(|(path, variable)| (path.clone(), variable.value.clone())).collect())
    }
}

/// The field that serde does not know, from its words: the path it gives ends one short of it.
fn unknown_field(problem: &str) -> Option<&str> {
    problem.split_once("unknown field `")?.1.split('`').next()
}

/// The variable that gives the setting at `path`.
fn variable_name(path: &str) -> String {
    format!("{PREFIX}{}", path.to_uppercase().replace('.', SEPARATOR))
}

/// The value of a TOML list or inline table.
fn parse_toml(text: &str) -> Option<ValueKind> {
    let document = File::from_str(&format!("value = {text}"), FileFormat::Toml).collect().ok()?;
    // More than one key means that the text went on after the value: another line, not a list.
    (document.len() == 1).then(|| document.into_values().next())?.map(|value| value.kind)
}

#[cfg(test)]
mod tests;
