//! Senders that ask before they deliver here (SPEC 5.3, S2).

use http::Method;
use slipstream_tests::{Account, Answer, Shape, System};

slipstream_tests::journeys![a_sender_that_asks_first_is_told_whether_it_may_publish];

async fn ask(account: &Account, headers: &[(&str, &str)]) -> Answer {
    let mut request = account.publishing().build().expect("the request is well-formed");
    *request.method_mut() = Method::OPTIONS;
    let mut request = reqwest::RequestBuilder::from_parts(account.http().clone(), request);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    account.send(request).await
}

async fn a_sender_that_asks_first_is_told_whether_it_may_publish(shape: Shape) {
    let system = System::start(shape).await;
    let account = system.external().await;
    let key = ("x-api-key", account.key.as_str());
    let origin = ("webhook-request-origin", "events.example");
    let granted = ask(&account, &[key, origin, ("webhook-request-rate", "120")]).await;
    granted.expect(204);
    assert_eq!(granted.header("webhook-allowed-origin"), "events.example");
    assert_eq!(granted.header("webhook-allowed-rate"), "*");
    assert_eq!(granted.header("allow"), "POST, OPTIONS");
    let silent = ask(&account, &[key]).await;
    assert_eq!((silent.status, silent.header("webhook-allowed-origin")), (204, ""));
    ask(&account, &[key, origin, ("webhook-request-rate", "0")]).await.expect(400);
    ask(&account, &[origin]).await.expect(401);
}
