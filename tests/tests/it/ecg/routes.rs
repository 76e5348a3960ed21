//! The path rules of `deploy/routes.yaml`: a gateway with exactly these before the services as processes of their own.

use std::net::SocketAddr;
use std::process::Stdio;

use slipstream_service::access::{Access, TABLE};
use slipstream_test_support::builders::SITE;
use slipstream_test_support::env;
use slipstream_tests::{Service, Shape, interop};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::endpoints;
use super::walk::walk;
use super::world::World;

/// What the router answers where it has no route.
const NO_ROUTE: &str = "there is nothing at this path";

/// A running gateway; it ends when dropped.
struct Gateway {
    address: SocketAddr,
    _process: Child,
    _stdin: ChildStdin,
}

impl Gateway {
    async fn before(world: &World) -> Self {
        let bases = world.system.bases();
        let rules = env::workspace().join("deploy/routes.yaml");
        let mut command: Command = interop::command("python3", &["gateway.py", &rules.display().to_string()]);
        for (service, address) in [
            (Service::Ingest, bases.ingest),
            (Service::Registry, bases.registry),
            (Service::ActivityLog, bases.activity_log),
        ] {
            command.arg(format!("{}={address}", service.program()));
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be started");
        let stdin = process.stdin.take().expect("it is a pipe");
        let mut lines = BufReader::new(process.stdout.take().expect("it is a pipe")).lines();
        let line =
            lines.next_line().await.expect("it prints text").expect("it prints its port; see what it says above");
        let port: u16 = line.parse().expect("it prints its port");
        Self { address: ([127, 0, 0, 1], port).into(), _process: process, _stdin: stdin }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_53_endpoints_answer_behind_a_gateway_with_the_deployed_path_rules() {
    let world = World::new(Shape::FourProcesses).await;
    let gateway = Gateway::before(&world).await;
    let cases = walk(&world, &world.manager.at(gateway.address)).await;
    println!("behind the deployed path rules: 53 endpoints, {cases} cases");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_public_route_lands_at_the_service_that_has_it_and_no_other_path_does() {
    let world = World::new(Shape::FourProcesses).await;
    let gateway = Gateway::before(&world).await;
    let bases = world.system.bases();
    let http = reqwest::Client::new();
    let services = [
        (Service::Ingest, bases.ingest),
        (Service::Registry, bases.registry),
        (Service::ActivityLog, bases.activity_log),
    ];
    let mut routes = 0;
    for entry in TABLE.iter().filter(|entry| !entry.is_for_operators()) {
        for path in entry.paths() {
            let path = with_values(&path);
            let mut owners = Vec::new();
            for (service, address) in services {
                let answer =
                    http.request(entry.method.clone(), format!("http://{address}{path}")).send().await.unwrap();
                let (status, body) = (answer.status(), answer.text().await.unwrap());
                if status != 405 && !(status == 404 && body.contains(NO_ROUTE)) {
                    owners.push(service.program());
                }
            }
            let url = format!("http://{}{path}", gateway.address);
            let answer = http.request(entry.method.clone(), url).send().await.unwrap();
            let lands = answer.headers()["x-rule"].to_str().unwrap().to_owned();
            assert!(
                owners.contains(&lands.as_str()),
                "{} {path} lands at {lands}, and {owners:?} have it",
                entry.method
            );
            // Each describes itself; nothing else is of several.
            assert!(owners.len() == 1 || path.ends_with("/openapi.json"), "{} {path}: {owners:?}", entry.method);
            routes += 1;
        }
    }
    println!("{routes} public routes land where they belong");
    assert!(routes > endpoints::all().len());

    // What is for operators has no way in, nor has what nobody has.
    let operators = TABLE.iter().filter(|it| it.access == Access::Operator || it.access == Access::Probe);
    let operators = operators.filter(|it| it.path != "/openapi.json").map(|it| with_values(it.path));
    let nobodys = ["/", "/api", "/api/organizations", "/sites", "/healthcheck/x", "/sites/s8n6EzC/events/x"];
    for path in operators.chain(nobodys.map(str::to_owned)) {
        let answer = http.get(format!("http://{}{path}", gateway.address)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["x-rule"]), (404, &"none".parse().unwrap()), "{path}");
    }
}

/// A path of the route, with something of the right form in the place of each parameter.
fn with_values(route: &str) -> String {
    let id = "5d0f7a3e-1c2b-4e6f-9a80-b1c2d3e4f506";
    let segment = |segment: &str| match segment.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
        Some("site") => SITE.to_owned(),
        Some("feature") => "physicalpost".to_owned(),
        Some("eventCode") => "vitals.observations.created".to_owned(),
        Some(_) => id.to_owned(),
        None => segment.to_owned(),
    };
    route.split('/').map(segment).collect::<Vec<_>>().join("/")
}
