//! The places that secrets must not get to, and how each is searched.
//!
//! A search that finds nothing proves nothing until it is known to look. So every search of a place finds three things or
//! fails: none of the secrets; a *landmark*, which is no secret and which the system itself has written there; and, in a
//! copy of what the landmark was found in, every secret, after it was planted there.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use async_nats::jetstream;
use futures::TryStreamExt as _;
use slipstream_test_support::postgres;

use super::needles::{Found, Needles};

/// The name of what is no secret.
const LANDMARK: &str = "the landmark";

/// Something that must show nowhere, and what it is.
pub(crate) type Secret = (&'static str, Vec<u8>);

/// One place.
#[derive(Debug)]
pub(crate) struct Place {
    name: &'static str,
    landmark: Vec<u8>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Texts, each by what it is.
    Texts(Vec<(String, Vec<u8>)>),
    /// All files below a directory that were written since then.
    Files(PathBuf, SystemTime),
}

impl Place {
    pub(crate) fn texts(
        name: &'static str,
        landmark: impl AsRef<[u8]>,
        texts: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Self {
        let content = Content::Texts(texts.into_iter().collect());
        Self { name, landmark: landmark.as_ref().to_vec(), content }
    }

    pub(crate) fn files(
        name: &'static str,
        landmark: impl AsRef<[u8]>,
        directory: impl Into<PathBuf>,
        since: SystemTime,
    ) -> Self {
        Self { name, landmark: landmark.as_ref().to_vec(), content: Content::Files(directory.into(), since) }
    }

    /// Searches it; see the module.
    #[track_caller]
    pub(crate) fn has_none_of(&self, secrets: &[Secret]) {
        let found = self.found(secrets);
        assert!(found.is_empty(), "secrets in {}: {found:#?}", self.name);
    }

    /// Which of them are in it: the rest of a search.
    #[track_caller]
    pub(crate) fn found(&self, secrets: &[Secret]) -> Found {
        let mut needles = Needles::default();
        for (name, secret) in secrets {
            needles.add(name, secret);
        }
        needles.add(LANDMARK, &self.landmark);
        let mut found = self.content.search(&needles);
        let landmarked = found.iter().find(|(_, names)| names.iter().any(|name| name.starts_with(LANDMARK)));
        let Some((what, _)) = landmarked else { panic!("the search does not see what is written in {}", self.name) };
        self.finds_what_is_planted(&self.content.read(what), &needles, secrets);
        for names in found.values_mut() {
            names.retain(|name| !name.starts_with(LANDMARK));
        }
        found.retain(|_, names| !names.is_empty());
        found
    }

    #[track_caller]
    fn finds_what_is_planted(&self, sample: &[u8], needles: &Needles, secrets: &[Secret]) {
        let (before, after) = sample.split_at(sample.len() / 2);
        let mut planted = before.to_vec();
        for (_, secret) in secrets {
            planted.extend_from_slice(secret);
            planted.push(0);
        }
        planted.extend_from_slice(after);
        let found = match &self.content {
            Content::Texts(_) => needles.within(&planted),
            Content::Files(..) => {
                let copy = tempfile::tempdir().unwrap();
                std::fs::write(copy.path().join("planted"), planted).unwrap();
                needles.in_files(copy.path(), SystemTime::UNIX_EPOCH).into_values().flatten().collect()
            }
        };
        for (name, _) in secrets {
            let form = format!("{name} in clear");
            assert!(found.contains(&form), "planted in {}, not found: {name}; only {found:?}", self.name);
        }
    }
}

impl Content {
    fn search(&self, needles: &Needles) -> Found {
        match self {
            Self::Files(directory, since) => needles.in_files(directory, *since),
            Self::Texts(texts) => {
                let mut found = Found::new();
                for (what, text) in texts {
                    let within = needles.within(text);
                    if !within.is_empty() {
                        found.entry(what.clone()).or_default().extend(within);
                    }
                }
                found
            }
        }
    }

    /// What the search calls so.
    fn read(&self, what: &str) -> Vec<u8> {
        match self {
            // What is gone by now can still be planted in.
            Self::Files(..) => std::fs::read(what).unwrap_or_default(),
            Self::Texts(texts) => texts.iter().find(|(it, _)| it == what).expect("it was found in it").1.clone(),
        }
    }
}

/// Copies the files in a directory (not below it) that are wanted by their names.
pub(crate) fn copy(from: &Path, to: &Path, is_wanted: impl Fn(&str) -> bool) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_file() && is_wanted(&name) {
            std::fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

/// Whether a file is a log.
pub(crate) fn is_log(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "log")
}

/// Where PostgreSQL keeps this database, and its write-ahead log.
pub(crate) async fn database_directories(url: &str) -> Vec<PathBuf> {
    // Into the files, and not in memory only.
    postgres::execute(url, "CHECKPOINT").await;
    let root = PathBuf::from(postgres::query(url, "SHOW data_directory").await);
    let oid = postgres::query(url, "SELECT oid FROM pg_database WHERE datname = current_database()").await;
    vec![root.join("base").join(oid), root.join("pg_wal")]
}

/// What the PostgreSQL of `tools/postgres` has logged: statements that failed among it, of other tests too.
pub(crate) async fn database_log(url: &str) -> (String, Vec<u8>) {
    let data = PathBuf::from(postgres::query(url, "SHOW data_directory").await);
    let log = data.parent().expect("it is in the cluster's directory").join("log");
    let text = std::fs::read(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
    (log.display().to_string(), text)
}

/// The command lines of the programs that were told of `directory`, which everybody on the machine can see.
pub(crate) fn command_lines(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let told = directory.display().to_string();
    let processes = std::fs::read_dir("/proc").expect("Linux has /proc").flatten();
    let lines = processes.filter_map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        let is_told = line.windows(told.len()).any(|window| window == told.as_bytes());
        is_told.then(|| (format!("process {}", process.file_name().display()), line))
    });
    lines.collect()
}

/// The subject and the headers of each message in each stream of this broker.
pub(crate) async fn bus_headers(client: async_nats::Client) -> Vec<(String, Vec<u8>)> {
    let jetstream = jetstream::new(client);
    let streams: Vec<_> = jetstream.streams().try_collect().await.unwrap();
    assert!(streams.len() >= 6, "the streams and a bucket: {}", streams.len());
    let mut texts = Vec::new();
    for info in streams {
        let stream = jetstream.get_stream(&info.config.name).await.unwrap();
        for sequence in info.state.first_sequence..=info.state.last_sequence {
            let Ok(message) = stream.get_raw_message(sequence).await else { continue };
            let mut text = format!("{}\n", message.subject);
            for (name, values) in message.headers.iter() {
                text.extend(values.iter().map(|value| format!("{name}: {value}\n")));
            }
            texts.push((format!("{} {sequence}", info.config.name), text.into_bytes()));
        }
    }
    texts
}
