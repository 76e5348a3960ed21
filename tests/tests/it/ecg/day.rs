//! A day in the life of an ECG user: a program in Python that knows nothing but the OpenAPI document that is served.

use serde_json::Value;
use slipstream_test_support::process::Program;
use slipstream_tests::{Settings, Shape, System, interop};
use tokio::process::Command;
use uuid::Uuid;

/// A token, as whoever tries out `slipstream up` gets one.
pub(crate) async fn token(system: &System, arguments: &[&str]) -> String {
    let program = Program::new("slipstream", system.directory());
    let output = Command::new(program.path())
        .args(["ecg-token", "--data-dir"])
        .arg(system.data_directory())
        .args(arguments)
        .output()
        .await
        .expect("it can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a token is text").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_made_from_the_openapi_document_lives_through_a_whole_day() {
    let settings = Settings { retry_schedule_ms: vec![0, 200, 300], ..Settings::default() };
    let system = System::with(Shape::Up, settings).await;
    let organization = Uuid::new_v4().to_string();
    let admin = token(&system, &["--role", "webhookAdmin"]).await;
    let manager = token(&system, &["--role", "webhookManager", "--organization", &organization]).await;
    let url = format!("http://{}", system.bases().registry);
    let output = interop::run("python3", &["ecg_day.py", &url, &admin, &manager, &organization], Vec::new()).await;
    let (told, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{error}");
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|problem| panic!("{problem}: {told}{error}"));
    println!("a day: {told}");
    assert_eq!(told["operations"], 53);
}
