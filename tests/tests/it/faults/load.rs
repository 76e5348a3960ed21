//! Who publishes while something is being killed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use slipstream_test_support::builders::event;
use slipstream_test_support::{Received, Receiver};
use slipstream_tests::Account;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Publishers that go on, whatever they are answered.
pub(crate) struct Load {
    stop: CancellationToken,
    state: Arc<State>,
    publishers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    accepted: Mutex<Vec<String>>,
    refused: AtomicUsize,
}

impl Load {
    /// Starts `publishers` of them, each with one request at a time.
    pub(crate) fn start(account: &Account, publishers: usize) -> Self {
        let (stop, state) = (CancellationToken::new(), Arc::new(State::default()));
        let publish = || tokio::spawn(publish(account.clone(), Arc::clone(&state), stop.clone()));
        let publishers = std::iter::repeat_with(publish).take(publishers).collect();
        Self { stop, state, publishers }
    }

    /// How many events were answered with 204 so far.
    pub(crate) fn accepted(&self) -> usize {
        self.state.accepted.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many were answered with 503 so far.
    pub(crate) fn refused(&self) -> usize {
        self.state.refused.load(Ordering::Relaxed)
    }

    /// Stops, and gives the ids of all events that were answered with 204.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.stop.cancel();
        for publisher in self.publishers {
            publisher.await.expect("a publisher does not panic");
        }
        std::mem::take(&mut self.state.accepted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn publish(account: Account, state: Arc<State>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let event = event();
        let answer = account.try_publish(&event).await;
        match answer.status {
            204 => {
                let mut accepted = state.accepted.lock().unwrap_or_else(PoisonError::into_inner);
                accepted.push(event.text("id").to_owned());
            }
            503 => {
                assert!(!answer.header("retry-after").is_empty(), "{answer}");
                state.refused.fetch_add(1, Ordering::Relaxed);
            }
            _ => panic!("{answer}"),
        }
    }
}

/// The webhook ids of every event that arrived, by the event's id.
pub(crate) fn webhook_ids(received: &[Arc<Received>]) -> HashMap<String, Vec<String>> {
    let mut ids: HashMap<String, Vec<String>> = HashMap::new();
    for request in received {
        let id = request.json()["id"].as_str().expect("an id is a text").to_owned();
        ids.entry(id).or_default().push(request.header("webhook-id").to_owned());
    }
    ids
}

/// Checks that every event in `accepted` arrived, each under one webhook id however often.
#[track_caller]
pub(crate) fn check_all_arrived(receiver: &Receiver, accepted: &[String]) {
    let arrived = webhook_ids(&receiver.received());
    let missing: Vec<_> = accepted.iter().filter(|id| !arrived.contains_key(*id)).collect();
    assert!(missing.is_empty(), "{} of {} did not arrive: {missing:?}", missing.len(), accepted.len());
    for (id, mut webhook_ids) in arrived {
        webhook_ids.dedup();
        assert_eq!(webhook_ids.len(), 1, "{id}: {webhook_ids:?}");
    }
}
