//! The health check (SPEC 6.3, E1): what works, what does not.

use serde_json::{Value, json};
use slipstream_test_support::eventually;
use slipstream_tests::{Answer, Ecg, LIMIT, Service, Shape, System};

/// Waits until the health check answers so.
async fn answers(somebody: &Ecg, status: u16) -> Value {
    let answer: Answer = eventually(LIMIT, async || {
        let answer = somebody.get("/healthcheck").await;
        if answer.status == status { Ok(answer) } else { Err(answer.to_string()) }
    })
    .await;
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_health_check_names_what_is_down_and_what_is_not() {
    let mut system = System::start(Shape::FourProcesses).await;
    let somebody = Ecg::nobody(system.bases());
    super::shapes::health(&answers(&somebody, 200).await);
    for (down, up) in [("database", "dispatcher"), ("dispatcher", "database")] {
        match down {
            "database" => system.cut_database().await,
            _ => system.terminate(Service::Dispatcher).await,
        }
        let told = answers(&somebody, 503).await;
        assert_eq!((&told["status"], &told["info"]), (&json!("error"), &json!({ up: { "status": "up" } })), "{told}");
        let failing = &told["error"][down];
        assert!(failing["status"] == "down" && failing["message"].is_string(), "{told}");
        assert_eq!(told["error"].as_object().map(serde_json::Map::len), Some(1), "{told}");
        assert_eq!((&told["details"][down], &told["details"][up]), (failing, &told["info"][up]), "{told}");
        match down {
            "database" => system.mend_database().await,
            _ => system.restart(Service::Dispatcher).await,
        }
        super::shapes::health(&answers(&somebody, 200).await);
    }
}
