use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A receiver that answers 204 to whatever it reads.
async fn receiver() -> Target {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                }
            });
        }
    });
    Target::parse(&url, &AddressPolicy::with_loopback()).unwrap()
}

async fn post(client: &Client, target: &Target) -> Answer {
    let request = WebhookRequest {
        target,
        content_type: &HeaderValue::from_static("application/cloudevent+json"),
        webhook_id: "msg_0",
        timestamp_seconds: 0,
        signature: None,
        headers: &PreparedHeaders::default(),
        surface_headers: &[],
        request_origin: None,
        traceparent: None,
        body: Bytes::from_static(b"{}"),
    };
    client.send(request).await
}

#[tokio::test]
async fn what_is_kept_for_a_host_is_forgotten_when_nothing_is_left() {
    let client = Client::new(Arc::new(AddressPolicy::with_loopback()), ClientConfig::default());
    let target = receiver().await;
    assert_eq!(post(&client, &target).await.result, Ok(204));
    assert_eq!(client.inner.pool.sizes(), (1, 1));
    tokio::time::pause();
    while client.inner.pool.sizes() != (0, 0) {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_per_host_are_closed() {
    let config = ClientConfig { idle_per_host_max: 3, ..ClientConfig::default() };
    let client = Client::new(Arc::new(AddressPolicy::with_loopback()), config);
    let target = receiver().await;
    let posts: Vec<_> = (0..10)
        .map(|_| {
            let (client, target) = (client.clone(), target.clone());
            tokio::spawn(async move { post(&client, &target).await })
        })
        .collect();
    for post in posts {
        assert_eq!(post.await.unwrap().result, Ok(204));
    }
    assert!((1..=3).contains(&client.inner.pool.sizes().1), "{:?}", client.inner.pool.sizes());
}

#[tokio::test]
async fn an_id_that_would_break_the_head_is_not_sent() {
    let client = Client::new(Arc::new(AddressPolicy::with_loopback()), ClientConfig::default());
    let request = WebhookRequest {
        target: &receiver().await,
        content_type: &HeaderValue::from_static("application/cloudevent+json"),
        webhook_id: "msg_0\r\nx: y",
        timestamp_seconds: 0,
        signature: None,
        headers: &PreparedHeaders::default(),
        surface_headers: &[],
        request_origin: None,
        traceparent: None,
        body: Bytes::new(),
    };
    assert_eq!(client.send(request).await.result, Err(ErrorCode::Protocol));
    assert_eq!(client.inner.pool.sizes(), (0, 0));
}
