//! Whether the bus can be used, as a readiness check (DESIGN 3).

use std::time::Duration;

use slipstream_bus::Bus;

use crate::Context;

/// How often the connection is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Keeps a check `name` equal to whether the connection to the bus stands, and tells its facts in `/readyz`.
pub fn watch_bus(ctx: &Context, name: &str, bus: &Bus) {
    let check = ctx.health.add(name);
    ctx.health.set_fact("bus", bus.facts());
    let (bus, stop) = (bus.clone(), ctx.stop.clone());
    ctx.spawn("bus check", async move {
        loop {
            if bus.is_connected() {
                check.set_ready();
            } else {
                check.set_not_ready("no connection to NATS");
            }
            if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                return Ok(());
            }
        }
    });
}
