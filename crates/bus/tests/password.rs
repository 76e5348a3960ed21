//! A broker that asks who we are.

use slipstream_bus::{Bus, BusConfig};
use slipstream_test_support::NatsServer;

fn at(port: u16, credentials: &str) -> BusConfig {
    BusConfig { url: format!("nats://{credentials}127.0.0.1:{port}").into(), ..BusConfig::default() }
}

#[tokio::test]
async fn a_name_and_a_password_in_the_url_are_shown_to_the_server_and_to_nobody_else() {
    let server = NatsServer::options().extra("authorization { user: me, password: \"s3cr3t canary\" }").start().await;
    Bus::connect(&at(server.port(), "me:s3cr3t%20canary@")).await.unwrap();
    for wrong in ["", "me:canary-wrong@", "canary-token@"] {
        let config = at(server.port(), wrong);
        let Err(error) = Bus::connect(&config).await else { panic!("connected with {wrong:?}") };
        let told = format!("{error:?} {} {config:?}", chain(&error));
        assert!(told.contains("127.0.0.1") && !told.contains("canary"), "{told}");
    }
}

#[tokio::test]
async fn a_token_in_the_url_is_shown_to_the_server() {
    let server = NatsServer::options().extra("authorization { token: \"s3cr3t\" }").start().await;
    Bus::connect(&at(server.port(), "s3cr3t@")).await.unwrap();
    assert!(Bus::connect(&at(server.port(), "")).await.is_err());
}

/// The error and all its causes, as a service tells them.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
