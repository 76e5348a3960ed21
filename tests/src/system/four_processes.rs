//! The four services as processes of their own, as in production: PostgreSQL, and two ports each.

use std::net::SocketAddr;
use std::path::Path;

use slipstream_test_support::postgres;
use slipstream_test_support::process::{Process, Program};

use super::port::free_port;
use super::settings::Surroundings;
use super::{Service, Settings};
use crate::LIMIT;
use crate::relay::Relay;

/// What sets a service's two ports.
const LISTEN: &str = "SLIPSTREAM__HTTP__LISTEN";
const OPERATOR_LISTEN: &str = "SLIPSTREAM__HTTP__OPERATOR_LISTEN";

/// The processes, and the cable to their database. Killed when dropped.
#[derive(Debug)]
pub(super) struct FourProcesses {
    running: Vec<Running>,
    pub(super) database: Relay,
    /// The database itself, without the cable.
    pub(super) database_url: String,
}

#[derive(Debug)]
struct Running {
    service: Service,
    program: Program,
    process: Process,
    address: SocketAddr,
    operator_address: SocketAddr,
}

/// One more process of a service; killed when dropped.
#[derive(Debug)]
pub struct Replica(Running);

impl Replica {
    /// Where everybody connects.
    pub const fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Its process id.
    pub fn process_id(&self) -> u32 {
        self.0.process.id()
    }
}

impl FourProcesses {
    /// Starts all at once, as an orchestrator would, and waits until each is ready.
    pub(super) async fn start(settings: &Settings, directory: &Path, nats_url: &str) -> Self {
        // postgres://user@host:port/name
        let url = postgres::database().await;
        let (scheme, rest) = url.split_once("://").expect("it is a URL");
        let (authority, name) = rest.split_once('/').expect("the URL names a database");
        let (user, server) = authority.split_once('@').expect("the URL names a user");
        let database = Relay::to(server).await;
        let password = settings.database_password.as_ref().map(|password| format!(":{password}")).unwrap_or_default();
        let direct_url = url.clone();
        let url = format!("{scheme}://{user}{password}@{}/{name}", database.address());
        let addresses = Service::ALL.map(|service| (service, free_address(), free_address()));
        let registry =
            addresses.iter().find(|(service, ..)| *service == Service::Registry).expect("every service runs").1;
        let surroundings = Surroundings { directory, nats_url, registry };
        let start = |(service, address, operator_address): (Service, SocketAddr, SocketAddr)| {
            let config = settings.write(service, &surroundings, &url);
            let mut program = Program::new(service.program(), directory)
                .arg("--config")
                .arg(config.file.display().to_string())
                .env(LISTEN, address.to_string())
                .env(OPERATOR_LISTEN, operator_address.to_string());
            for (name, value) in config.variables {
                program = program.env(name, value);
            }
            Running { service, process: program.start(), program, address, operator_address }
        };
        let mut processes = Self { running: addresses.map(start).into(), database, database_url: direct_url };
        for running in &mut processes.running {
            running.wait_ready().await;
        }
        processes
    }

    pub(super) async fn replica(&mut self, service: Service) -> Replica {
        let (address, operator_address) = (free_address(), free_address());
        // Writes to the log of the first; of two values of a variable the later one counts.
        let program = self.find(service).program.clone().env(LISTEN, address.to_string());
        let program = program.env(OPERATOR_LISTEN, operator_address.to_string());
        let mut replica = Running { service, process: program.start(), program, address, operator_address };
        replica.wait_ready().await;
        Replica(replica)
    }

    fn find(&mut self, service: Service) -> &mut Running {
        self.running.iter_mut().find(|running| running.service == service).expect("every service runs")
    }

    pub(super) fn address(&mut self, service: Service) -> SocketAddr {
        self.find(service).address
    }

    pub(super) fn process_id(&mut self, service: Service) -> u32 {
        self.find(service).process.id()
    }

    pub(super) fn operator_address(&mut self, service: Service) -> SocketAddr {
        self.find(service).operator_address
    }

    pub(super) fn program(&mut self, service: Service) -> &mut Program {
        &mut self.find(service).program
    }

    pub(super) fn kill9(&mut self, service: Service) {
        self.find(service).process.kill9();
    }

    pub(super) async fn terminate(&mut self, service: Service) {
        let status = self.find(service).process.terminate(LIMIT).await;
        assert!(status.success(), "{service:?} ended with {status}");
    }

    pub(super) async fn restart(&mut self, service: Service) {
        let running = self.find(service);
        running.process.kill9();
        running.process = running.program.start();
        running.wait_ready().await;
    }

    /// The end of each service's log, for a failed test.
    pub(super) fn logs(&self) -> String {
        let end = |running: &Running| {
            let log = running.process.log();
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(30)..].join("\n");
            format!("--- {}\n{end}\n", running.service.program())
        };
        self.running.iter().map(end).collect()
    }
}

fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

impl Running {
    async fn wait_ready(&mut self) {
        self.process.wait_ready(&format!("http://{}/readyz", self.operator_address), LIMIT).await;
    }
}
