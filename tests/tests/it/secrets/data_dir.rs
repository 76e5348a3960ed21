//! The data directory of `slipstream up`: its broker, SQLite, and all its credentials, each in a file of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use slipstream_test_support::process::Program;
use slipstream_tests::{LIMIT, OPERATOR_TOKEN, System};

use super::places::{Place, Secret};

/// The directory, and every secret that is or was in it.
pub(crate) struct DataDir {
    path: PathBuf,
    secrets: Vec<Secret>,
}

impl DataDir {
    pub(crate) fn of(system: &System) -> Self {
        let mut data = Self { path: system.data_directory().to_owned(), secrets: Vec::new() };
        let demo: Value = serde_json::from_str(&data.text("demo-account.json")).unwrap();
        let (_, demo_key) = demo["api_key"].as_str().and_then(|key| key.split_once('_')).expect("it is a key");
        data.secrets = vec![
            ("the operator's token", OPERATOR_TOKEN.into()),
            ("the broker's token", data.text("broker-token").trim().into()),
            ("the demo account's key", demo_key.into()),
            ("the issuer's key", data.decoded("ecg-issuer.key")),
            ("the old master key", data.decoded("master.key")),
        ];
        data
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path.join(name)).unwrap()
    }

    /// A key that the system has made.
    fn decoded(&self, name: &str) -> Vec<u8> {
        STANDARD.decode(self.text(name).trim()).expect("it is in Base64")
    }

    /// A connection to the broker.
    pub(crate) async fn broker(&self) -> async_nats::Client {
        let address = format!("nats://127.0.0.1:{}", self.text("nats/port").trim());
        let options = async_nats::ConnectOptions::with_token(self.text("broker-token").trim().to_owned());
        options.connect(address).await.unwrap()
    }

    /// Stops the system in order, has another master key made, and starts it again. The command logs beside it.
    pub(crate) async fn rotate_master_key(&mut self, system: &mut System) {
        system.stop_up().await;
        let command = Program::new("slipstream", system.directory()).arg("rotate-master-key");
        let command = command.arg("--data-dir").arg(self.path.display().to_string());
        let mut rotating = command.log_to(system.directory().join("rotated.log")).start();
        let status = rotating.wait_for_end(LIMIT).await;
        assert!(status.success() && rotating.log().contains("rotated"), "{}", rotating.log());
        let new = self.decoded("master.key");
        assert!(self.secrets.iter().all(|(_, secret)| *secret != new), "it is another one");
        self.secrets.push(("the new master key", new));
        system.start_up_again().await;
    }

    /// Which of its own secrets, and of others, are in which files: some are there to be, for the owner's eyes, and nowhere
    /// else.
    #[track_caller]
    pub(crate) fn has_secrets_in_their_own_files_only(&self, landmark: &str, others: &[Secret], is_running: bool) {
        let mut expected = BTreeMap::from([
            ("broker-token", BTreeSet::from(["the broker's token"])),
            ("demo-account.json", BTreeSet::from(["the demo account's key"])),
            ("ecg-issuer.key", BTreeSet::from(["the issuer's key"])),
            ("master.key", BTreeSet::from(["the new master key"])),
            ("nats/nats-server.conf", BTreeSet::from(["the broker's token"])),
            ("operator-token", BTreeSet::from(["the operator's token"])),
        ]);
        if is_running {
            expected.insert("running.json", BTreeSet::from(["the demo account's key", "the operator's token"]));
        }
        for name in expected.keys() {
            let mode = std::fs::metadata(self.path.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let secrets = [&self.secrets, others].concat();
        // All of it is its own, whenever it was written.
        let place = Place::files("the data directory", landmark, &self.path, SystemTime::UNIX_EPOCH);
        let found = place.found(&secrets);
        let named = |form: &String| {
            let (name, _) = secrets.iter().find(|(name, _)| form.starts_with(&format!("{name} "))).unwrap();
            *name
        };
        let by_file: BTreeMap<_, BTreeSet<_>> = found
            .iter()
            .map(|(path, forms)| (Path::new(path).strip_prefix(&self.path).unwrap(), forms.iter().map(named).collect()))
            .collect();
        let expected = expected.into_iter().map(|(path, names)| (Path::new(path), names)).collect();
        assert_eq!(by_file, expected);
    }
}
