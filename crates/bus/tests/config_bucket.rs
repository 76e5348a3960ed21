//! The config bucket, on a real nats-server.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use slipstream_bus::{Bus, BusConfig, BusError, ConfigChange};
use slipstream_core::config::{Organisation, Record};
use slipstream_test_support::nats::NatsServer;

fn organisation(slug: &str, revision: i64) -> Record {
    Record::Organisation(Organisation { slug: slug.parse().unwrap(), name: slug.to_owned(), revision })
}

async fn next(changes: &mut (impl Stream<Item = Result<ConfigChange, BusError>> + Unpin)) -> ConfigChange {
    let change = tokio::time::timeout(Duration::from_secs(5), changes.next()).await;
    change.expect("a change comes").expect("the watch goes on").expect("the record is one")
}

#[tokio::test]
async fn a_watcher_sees_what_is_there_and_then_every_change() {
    let server = NatsServer::start().await;
    let bus = Bus::connect(&BusConfig { url: server.url().into(), ..BusConfig::default() }).await.unwrap();
    let bucket = bus.config_bucket().await.unwrap();
    let mut changes = Box::pin(bucket.watch().await.unwrap());
    assert_eq!(next(&mut changes).await, ConfigChange::Initialised, "an empty bucket is seen at once");

    bucket.put(&organisation("oAbc1", 1)).await.unwrap();
    assert_eq!(next(&mut changes).await, ConfigChange::Put(organisation("oAbc1", 1)));
    bucket.put(&organisation("oAbc1", 2)).await.unwrap();
    assert_eq!(next(&mut changes).await, ConfigChange::Put(organisation("oAbc1", 2)));
    bucket.delete("organisation.oAbc1").await.unwrap();
    assert_eq!(next(&mut changes).await, ConfigChange::Deleted { key: "organisation.oAbc1".into() });

    bucket.put(&organisation("oAbc2", 1)).await.unwrap();
    assert_eq!(bucket.get("organisation.oAbc2").await.unwrap(), Some(organisation("oAbc2", 1)));
    assert_eq!(bucket.get("organisation.oAbc1").await.unwrap(), None);
    assert_eq!(bucket.keys().await.unwrap(), ["organisation.oAbc2"]);

    let mut later = Box::pin(bucket.watch().await.unwrap());
    let mut seen = Vec::new();
    loop {
        match next(&mut later).await {
            ConfigChange::Initialised => break,
            change => seen.push(change),
        }
    }
    assert!(seen.contains(&ConfigChange::Put(organisation("oAbc2", 1))), "{seen:?}");
}
