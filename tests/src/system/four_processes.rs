//! The four services as processes of their own, as in production: PostgreSQL, and a port each.

use std::net::SocketAddr;
use std::path::Path;

use slipstream_test_support::postgres;
use slipstream_test_support::process::{Process, Program};

use super::port::free_port;
use super::settings::Surroundings;
use super::{Service, Settings};
use crate::LIMIT;
use crate::relay::Relay;

/// The processes, and the cable to their database. Killed when dropped.
#[derive(Debug)]
pub(super) struct FourProcesses {
    running: Vec<Running>,
    pub(super) database: Relay,
}

#[derive(Debug)]
struct Running {
    service: Service,
    program: Program,
    process: Process,
    address: SocketAddr,
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
        let url = format!("{scheme}://{user}@{}/{name}", database.address());
        let addresses = Service::ALL.map(|service| (service, SocketAddr::from(([127, 0, 0, 1], free_port()))));
        let registry =
            addresses.iter().find(|(service, _)| *service == Service::Registry).expect("every service runs").1;
        let surroundings = Surroundings { directory, nats_url, registry };
        let start = |(service, address): (Service, SocketAddr)| {
            let config = settings.write(service, &surroundings, &url);
            let mut program = Program::new(service.program(), directory)
                .arg("--config")
                .arg(config.file.display().to_string())
                .env("SLIPSTREAM__HTTP__LISTEN", address.to_string());
            for (name, value) in config.variables {
                program = program.env(name, value);
            }
            Running { service, process: program.start(), program, address }
        };
        let mut processes = Self { running: addresses.map(start).into(), database };
        for running in &mut processes.running {
            running.wait_ready().await;
        }
        processes
    }

    fn find(&mut self, service: Service) -> &mut Running {
        self.running.iter_mut().find(|running| running.service == service).expect("every service runs")
    }

    pub(super) fn address(&mut self, service: Service) -> SocketAddr {
        self.find(service).address
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

impl Running {
    async fn wait_ready(&mut self) {
        self.process.wait_ready(&format!("http://{}/readyz", self.address), LIMIT).await;
    }
}
