//! What happens to endpoints without anybody's credential, and so past the audit of routes: recorded all the same
//! (THREATS 9).
//!
//! A record is noted in the very transaction of the change, and published by whoever publishes what is to be told (see
//! [`crate::events`]): no change is without its record, and no record without its change, whatever crashes when.

use slipstream_core::config::{DisabledReason, Subscription};
use slipstream_core::contract::{Action, AuditOutcome, Audited, TargetKind, Unasked};
use slipstream_core::ids::AuditId;
use slipstream_core::trace::TraceContext;
use slipstream_service::clock;
use slipstream_store::{DatabaseTransaction, StoreError, outbox};

/// What somebody did to an endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed {
    /// It takes no more deliveries, because of what they found; none that an operator did, whose request is recorded.
    Disabled(DisabledReason),
    /// Its receiver agreed, in this request if it is one.
    Granted(Option<TraceContext>),
}

/// Notes that this happened to `subscription`, as it stands after the change.
pub(crate) async fn note(
    transaction: &DatabaseTransaction,
    subscription: &Subscription,
    deed: Deed,
) -> Result<(), StoreError> {
    let (actor, action, trace) = match deed {
        Deed::Disabled(DisabledReason::Operator) => return Ok(()),
        Deed::Disabled(DisabledReason::Gone) => (Unasked::Receiver, Action::EndpointDisable, None),
        Deed::Disabled(DisabledReason::Failing) => (Unasked::System, Action::EndpointDisable, None),
        Deed::Granted(trace) => (Unasked::Receiver, Action::ConsentGrant, trace),
    };
    let record = Audited {
        target: Some(subscription.id.to_string()),
        site: Some(subscription.site.clone()),
        trace: trace.map(|trace| format!("{:032x}", trace.trace_id)),
        ..done(actor, action, TargetKind::Endpoint)
    };
    outbox::audited::put(transaction, &record).await
}

/// A record that this was done just now.
pub(crate) fn done(actor: Unasked, action: Action, kind: TargetKind) -> Audited {
    Audited {
        id: AuditId(clock::new_uuid()),
        at: clock::now(),
        actor: actor.as_str().to_owned(),
        action,
        kind,
        target: None,
        site: None,
        trace: None,
        outcome: AuditOutcome::Done,
        status: None,
        begun: None,
    }
}
