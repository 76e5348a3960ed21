//! Fresh databases in the shared server.

use std::collections::BTreeSet;
use std::time::Duration;

use slipstream_test_support::postgres;
use tokio::net::TcpStream;

#[tokio::test]
async fn each_call_gives_another_database_of_the_same_server() {
    let (one, two, three) = tokio::join!(postgres::database(), postgres::database(), postgres::database());
    assert_eq!(BTreeSet::from([&one, &two, &three]).len(), 3, "{one} {two} {three}");

    let server = |url: &str| url.rsplit_once('/').unwrap().0.to_owned();
    assert_eq!(server(&one), server(&two));
    let address = server(&one).rsplit_once('@').unwrap().1.to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(address)).await.unwrap().unwrap();

    // What one database holds, the other does not.
    postgres::execute(&one, "CREATE TABLE t (n INT); INSERT INTO t VALUES (1)").await;
    postgres::execute(&two, "CREATE TABLE t (n INT)").await;
    postgres::execute(&one, "SELECT 1 / count(*) FROM t").await;
}
