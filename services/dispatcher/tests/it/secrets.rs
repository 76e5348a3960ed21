//! Nothing is sent unsigned, and nothing starts with the wrong master key (THREATS 5).

use std::time::Duration;

use slipstream_core::config::{Record, WrappedKey};
use slipstream_core::delivery::Reason;
use slipstream_core::sealing::{DataKey, KEY_BYTES, KeyId, OpenError};
use slipstream_core::signing::{Key, verify};
use slipstream_service::Context;
use slipstream_service::config::SecretsConfig;
use slipstream_test_support::builders::{self, event};
use slipstream_test_support::secrets;

use crate::world::{World, quick_retries, subscription};

#[tokio::test]
async fn a_subscription_whose_key_is_missing_is_held_back_until_it_comes() {
    let mut world = World::new(quick_retries()).await;
    let mut late = subscription(&world.receiver, "/late");
    late.headers = vec![builders::header("X-Key", "s3cr3t")];
    // Another key of the same site than the one that is there.
    let (tenant, data_key) = (late.tenant(), DataKey::new(KeyId::new([5; 16]), [5; KEY_BYTES]));
    let sealed = late.clone().with_secrets(|secret, place| Ok::<_, OpenError>(secret.seal(&data_key, place, [5; 12])));
    let wrapped = secrets::master_key().wrap(&tenant, &data_key, [6; 12]);
    let key = WrappedKey { id: data_key.id(), wrapped, ..secrets::wrapped_key(&tenant) };
    world.bucket.put(&Record::Subscription(Box::new(sealed.unwrap()))).await.unwrap();
    // It is known, and matched.
    for count in 1.. {
        world.publish(&event()).await;
        let routed = world.routed(count).await;
        if routed[count - 1].matched.iter().any(|it| it.subscription == late.id) {
            break;
        }
    }
    world.recorded_until("it waits", |world| world.reasons().contains(&Reason::SecretsSealed)).await;
    assert!(world.receiver.received_at("/late").is_empty(), "nothing goes out without the key");
    world.bucket.put(&Record::DataKey(key)).await.unwrap();
    let received = world.receiver.wait_for_at("/late", 1, Duration::from_secs(30)).await.remove(0);
    assert_eq!(received.header("x-key"), "s3cr3t");
    let key = Key::parse(builders::SIGNING_SECRET).unwrap();
    let now = received.header("webhook-timestamp").parse().unwrap();
    let (id, signature) = (received.header("webhook-id"), received.header("webhook-signature"));
    verify(&[key], id, received.header("webhook-timestamp"), signature, &received.body, now).unwrap();
}

#[tokio::test]
async fn with_the_wrong_master_key_or_none_it_does_not_start() {
    let world = World::new(quick_retries()).await;
    world.stop().await;
    let directory = tempfile::tempdir().unwrap();
    let another = directory.path().join("another.key");
    std::fs::write(&another, "5".repeat(64)).unwrap();
    for (master_key_file, told) in [(Some(another), "wrong master key"), (None, "secrets.master_key_file is required")]
    {
        let secrets = SecretsConfig { master_key_file, ..SecretsConfig::default() };
        let config = slipstream_dispatcher::Config { secrets, ..world.config() };
        let error = slipstream_dispatcher::start(config, &Context::new()).await.unwrap_err();
        assert!(format!("{error:#}").contains(told), "{error:#}");
    }
}
