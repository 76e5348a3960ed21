//! Who is there, as others hear it, against a real server.

use std::time::Duration;

use slipstream_bus::{Bus, BusConfig};
use slipstream_test_support::nats::NatsServer;
use tokio::time::timeout;

/// Longer than a replica that is gone is thought to be there.
const LONG: Duration = Duration::from_secs(15);

#[tokio::test]
async fn whoever_listens_hears_who_comes_and_goes_and_is_not_counted() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&BusConfig { url: server.url().into(), ..BusConfig::default() }).await.unwrap();
    let (mut heard, listening) = bus.listen_for("dispatcher").await.unwrap();
    let (others, listening_too) = bus.listen_for("other").await.unwrap();
    tokio::spawn(listening);
    tokio::spawn(listening_too);
    assert_eq!(*heard.borrow(), None, "nobody had the time to be heard");

    let (counted, counting) = bus.presence("dispatcher").await.unwrap();
    let joined = tokio::spawn(counting);
    timeout(LONG, heard.wait_for(|count| *count == Some(1))).await.unwrap().unwrap();
    assert_eq!(*counted.borrow(), 1);
    joined.abort();
    timeout(LONG, heard.wait_for(|count| *count == Some(0))).await.unwrap().unwrap();
    assert_eq!(*others.borrow(), Some(0), "who listens is nobody, and who is another is not heard");
}
