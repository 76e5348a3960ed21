//! What stands before the handlers of this service.

use std::sync::Arc;

use slipstream_bus::Bus;
use slipstream_service::access::{Around, Routes};
use slipstream_service::audit::Audit;
use slipstream_service::auth::Guards;
use slipstream_service::config::HttpConfig;
use slipstream_service::ecg::{refuse, shape};
use slipstream_service::http::ToTheEnd;
use slipstream_service::idempotency::Idempotency;
use slipstream_store::Store;

/// Credentials with their quotas, keys of idempotency, the audit. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Entrance {
    guards: Guards,
    /// From the outermost to the innermost: a repeat of a request is no second act.
    around: [Arc<dyn Around>; 2],
}

impl Entrance {
    pub(crate) fn new(guards: Guards, store: Store, bus: &Bus, http: &HttpConfig, to_the_end: &ToTheEnd) -> Self {
        let once = Idempotency::new(store, http, to_the_end);
        let around: [Arc<dyn Around>; 2] = [Arc::new(once), Arc::new(Audit::new(bus, "activity-log", to_the_end))];
        Self { guards, around }
    }

    /// No routes yet, behind all of this.
    pub(crate) fn routes<S: Clone + Send + Sync + 'static>(&self) -> Routes<S> {
        self.around(Routes::new(&self.guards))
    }

    /// The same for the ECG surface: what is refused on any of these steps is worded as it does.
    pub(crate) fn ecg_routes<S: Clone + Send + Sync + 'static>(&self) -> Routes<S> {
        self.around(Routes::new(&self.guards).refusing_with(refuse).around(shape()))
    }

    fn around<S: Clone + Send + Sync + 'static>(&self, routes: Routes<S>) -> Routes<S> {
        self.around.iter().cloned().fold(routes, Routes::around)
    }
}
