//! Starting and ending programs.

use std::path::Path;
use std::time::Duration;

use slipstream_test_support::process::{Process, Program};
use slipstream_test_support::{Receiver, Reply, eventually};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(10);

fn shell(directory: &TempDir, script: &str) -> Process {
    Program::at(Path::new("/bin/sh"), directory.path()).arg("-c").arg(script).env("WORD", "ready").start()
}

async fn prints(process: &Process, text: &str) {
    eventually(LIMIT, || async {
        let log = process.log();
        if log.contains(text) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn a_program_can_end_in_its_own_way() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = shell(&directory, "trap 'exit 7' TERM; echo $WORD; while :; do sleep 0.01; done");
    prints(&process, "ready").await;
    assert_eq!(process.terminate(LIMIT).await.code(), Some(7));
}

#[tokio::test]
async fn a_killed_program_is_gone_and_its_log_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut process = shell(&directory, "echo pid $$; exec sleep 1000");
        prints(&process, &format!("pid {}\n", process.id())).await;
        process.kill9();
        assert!(!Path::new(&format!("/proc/{}", process.id())).exists());
    }
    let log = std::fs::read_to_string(directory.path().join("sh.log")).unwrap();
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[tokio::test]
async fn a_program_is_ready_once_its_address_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    receiver.script(|_, nth| Reply::status(if nth < 2 { 503 } else { 200 }));
    let mut process = shell(&directory, "exec sleep 1000");
    process.wait_ready(&receiver.url("/readyz"), LIMIT).await;
    assert_eq!(receiver.count(), 3);
}

#[tokio::test]
#[should_panic(expected = "no such thing")]
async fn a_program_that_ends_instead_of_being_ready_shows_its_output() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = shell(&directory, "echo no such thing; exit 1");
    let refused = format!("http://127.0.0.1:{}/readyz", slipstream_test_support::process::free_port());
    process.wait_ready(&refused, LIMIT).await;
}
