//! The master key of four processes, and the one that takes its place.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use slipstream_test_support::process::Program;
use slipstream_tests::{LIMIT, Service, System};
use tempfile::TempDir;

use super::needles::hex;
use super::places::Secret;

const FILE: &str = "SLIPSTREAM__SECRETS__MASTER_KEY_FILE";
const PREVIOUS_FILE: &str = "SLIPSTREAM__SECRETS__PREVIOUS_MASTER_KEY_FILE";
/// Who needs the key.
const HOLDERS: [Service; 3] = [Service::Registry, Service::Dispatcher, Service::ActivityLog];

/// Two keys, each in a file of its own and nowhere else.
pub(crate) struct MasterKeys {
    directory: TempDir,
    old: [u8; 32],
    new: [u8; 32],
}

impl MasterKeys {
    pub(crate) fn new() -> Self {
        let keys = Self { directory: tempfile::tempdir().unwrap(), old: rand::random(), new: rand::random() };
        let hex = hex(&keys.new);
        keys.write("old", &STANDARD.encode(keys.old));
        keys.write("new", &hex);
        // Holds a key, and something else with it.
        keys.write("broken", &format!("{hex} {hex}"));
        keys
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
        std::fs::set_permissions(self.file(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the first one is.
    pub(crate) fn old_file(&self) -> PathBuf {
        self.file("old")
    }

    pub(crate) fn secrets(&self) -> [Secret; 2] {
        [("the old master key", self.old.to_vec()), ("the new master key", self.new.to_vec())]
    }

    /// Puts the new key in the old one's place, as the manual says, restarting every service on the way; and has the
    /// registry refuse to start with each wrong key. It logs in files of their own beside the others.
    pub(crate) async fn rotate(&self, system: &mut System) {
        let logs = system.directory().to_owned();
        let variable = |name: &str| self.file(name).display().to_string();
        let before = HOLDERS.map(|service| (service, system.program(service).clone()));
        for (service, program) in &before {
            let with_both = program.clone().env(FILE, variable("new")).env(PREVIOUS_FILE, variable("old"));
            *system.program(*service) = with_both;
        }
        restart(system, &Service::ALL).await;

        let command = system.program(Service::Registry).clone().arg("rotate-master-key");
        let (is_done, log) = run(command, logs.join("rotated.log")).await;
        assert!(is_done && log.contains("master key rotated"), "{log}");
        for (service, program) in before {
            *system.program(service) = program.env(FILE, variable("new"));
        }
        restart(system, &HOLDERS).await;

        for (wrong, told) in [("old", "wrong master key"), ("broken", "holds no master key")] {
            let program = system.program(Service::Registry).clone().env(FILE, variable(wrong));
            let (is_done, log) = run(program, logs.join(format!("{wrong}-key.log"))).await;
            assert!(!is_done && log.contains(told), "{log}");
        }
    }
}

/// In order, so that logs and traces are whole.
async fn restart(system: &mut System, services: &[Service]) {
    for service in services {
        system.terminate(*service).await;
        system.restart(*service).await;
    }
}

/// Runs a program to its end: whether it did what it should, and its output.
async fn run(program: Program, log: PathBuf) -> (bool, String) {
    let mut process = program.log_to(log).start();
    let status = process.wait_for_end(LIMIT).await;
    (status.success(), process.log())
}
