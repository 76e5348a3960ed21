//! The steps, and what must come of each.

mod checks;

use std::time::Duration;

use anyhow::Context as _;
use http::StatusCode;
use slipstream_service::clock;

use self::checks::{Expected, Stage};
use super::desk::Desk;
use super::timeline::Timeline;
use crate::api::{Api, Mode};
use crate::credentials::Running;
use crate::events::NewEvent;
use crate::receiver::Reply;

/// The demo's own sites, beside the one that is there: a subscription is of one site and account, so receivers that
/// answer differently need a site each. Sqids of 2 and 1000.
const BUSY_SITE: &str = "sgbHJdm";
const MOVED_SITE: &str = "spndklV";
/// How long to wait for anything that should come at once.
const SOON: Duration = Duration::from_secs(5);
/// How far ahead the event lies that is to arrive later.
const LATER: Duration = Duration::from_secs(2);
/// And the one that is cancelled.
const TOMORROW: Duration = Duration::from_hours(24);
/// What the busy receiver asks for, and the retry schedule's first delay.
const RETRY_AFTER: Duration = Duration::from_secs(1);

const CREATED: &str = "communications.letter.created";
const UPDATED: &str = "communications.letter.status_updated";
const FAILED: &str = "communications.letter.creation_failed";

/// Plays all steps.
///
/// # Errors
/// When a step cannot be made; a check that fails is the timeline's to remember.
pub(super) async fn play(running: &Running, timeline: &Timeline) -> anyhow::Result<()> {
    let api = Api::of(running)?;
    let token = &running.operator_token;
    let home = running.site.as_str();

    Timeline::chapter("Three practices subscribe to letters, each with a receiver of its own");
    let organisation = api.organisation_of(token, home).await?;
    for (site, name) in [(BUSY_SITE, "Busy practice"), (MOVED_SITE, "Moved practice")] {
        api.put_site(token, site, name, &organisation).await?;
    }
    let busy =
        Reply { status: StatusCode::SERVICE_UNAVAILABLE, retry_after_seconds: Some(RETRY_AFTER.as_secs() as u32) };
    let reception = Desk::open("reception", &[StatusCode::OK.into()], timeline).await?;
    let busy = Desk::open("busy", &[busy, StatusCode::OK.into()], timeline).await?;
    let moved = Desk::open("moved", &[StatusCode::NOT_FOUND.into(), StatusCode::OK.into()], timeline).await?;
    for (site, name, desk) in
        [(home, "reception", &reception), (BUSY_SITE, "busy", &busy), (MOVED_SITE, "moved", &moved)]
    {
        api.subscribe(site, &running.api_key, &desk.url()).await?;
        let keys = api.signing_keys(token, site, &desk.url()).await?;
        timeline.note("subscribed", None, format_args!("site {site:<18} {name} at {}", desk.url()));
        timeline.check(keys.len() == 1, format_args!("the subscription of {name} stands and has a signing key"));
        desk.set_keys(keys);
    }
    let stage = Stage { api: &api, running, timeline };

    Timeline::chapter("Published in all three modes, received once each");
    stage.publish(home, Mode::Structured, &[letter("structured", CREATED)]).await?;
    stage.publish(home, Mode::Binary, &[letter("binary", UPDATED)]).await?;
    stage.publish(home, Mode::Batch, &[letter("batch-1", CREATED), letter("batch-2", FAILED)]).await?;
    for id in ["structured", "binary", "batch-1", "batch-2"] {
        let seen = reception.wait_for(id, 1, SOON).await;
        timeline
            .check(seen.len() == 1 && seen[0].verified, format_args!("{id} arrived once, and its signature is right"));
    }

    Timeline::chapter("A receiver that is busy, and one that does not want it");
    stage.publish(BUSY_SITE, Mode::Structured, &[letter("retried", CREATED)]).await?;
    stage.publish(MOVED_SITE, Mode::Structured, &[letter("refused", CREATED)]).await?;
    stage.check_retry(&busy.wait_for("retried", 2, SOON).await);
    moved.wait_for("refused", 1, SOON).await;
    stage.wait_for_state(MOVED_SITE, "refused", "failed").await;

    Timeline::chapter("One for tomorrow, and a change of mind");
    let tomorrow =
        NewEvent { intended_delivery_time: Some(clock::now().after(TOMORROW)), ..letter("tomorrow", CREATED) };
    stage.publish(home, Mode::Structured, &[tomorrow]).await?;
    stage.cancel_scheduled(home, "tomorrow").await?;

    Timeline::chapter("One for later, one too late, one that is internal");
    let now = clock::now();
    let intended = now.after(LATER);
    let later = NewEvent { intended_delivery_time: Some(intended), ..letter("later", UPDATED) };
    stage.publish(home, Mode::Structured, &[later]).await?;
    let passed = crate::events::When::Before(Duration::from_mins(1)).seen_from(now);
    let too_late = NewEvent { expiry_time: Some(passed), ..letter("too-late", UPDATED) };
    stage.publish(home, Mode::Structured, &[too_late]).await?;
    let internal = NewEvent { visibility: 0, ..letter("internal", CREATED) };
    stage.publish(home, Mode::Structured, &[internal]).await?;
    stage.check_later(intended, &reception.wait_for("later", 1, LATER + SOON).await);

    Timeline::chapter("What the activity log says");
    let expected = expected(home);
    stage.print_log(&expected).await?;
    // The later event took 2 s, longer than the first delay of the retry schedule: a retry of the refused one would
    // have come by now.
    stage.check_counts(&expected, &[&reception, &busy, &moved]);

    Timeline::chapter("Once more what was refused, and why for two of them");
    stage.replay(MOVED_SITE, "refused").await?;
    stage.check_replay(&moved.wait_for("refused", 2, SOON).await);
    stage.check_why(MOVED_SITE, "refused", "delivered", "by a replay").await?;
    stage.check_why(home, "internal", "not_delivered", "webhooks receive public events only").await?;
    Ok(())
}

fn letter(id: &str, event_type: &str) -> NewEvent {
    NewEvent { event_type: event_type.to_owned(), source: SOURCE.to_owned(), ..NewEvent::letter(id) }
}

const SOURCE: &str = "/demo/letters";

/// What the activity log must say in the end, in the order of publishing.
fn expected(home: &str) -> [Expected<'_>; 9] {
    let event = |site, id| Expected { site, id, state: Some("succeeded"), attempts: 1, reason: None };
    let home = |id| event(home, id);
    [
        home("structured"),
        home("binary"),
        home("batch-1"),
        home("batch-2"),
        Expected { attempts: 2, ..event(BUSY_SITE, "retried") },
        Expected { state: Some("failed"), reason: Some("final_answer"), ..event(MOVED_SITE, "refused") },
        home("later"),
        Expected { state: Some("expired"), attempts: 0, reason: Some("expiry_time"), ..home("too-late") },
        Expected { state: None, attempts: 0, reason: Some("visibility"), ..home("internal") },
    ]
}

/// Publishes, and fails the demo if that is refused: nothing after it could be right.
impl Stage<'_> {
    async fn publish(&self, site: &str, mode: Mode, events: &[NewEvent]) -> anyhow::Result<()> {
        let ids = events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>().join(", ");
        let built = events.iter().map(NewEvent::build).collect::<anyhow::Result<Vec<_>>>()?;
        let answer = self.api.publish(site, &self.running.api_key, mode, &built).await;
        let answer = answer.with_context(|| format!("publishing {ids}"))?;
        let (status, took) = (answer.status, answer.took.as_secs_f64() * 1000.0);
        self.timeline.note(
            "published",
            None,
            format_args!("{ids:<18} {:<10} to {site}: {} in {took:.1} ms", mode.as_str(), status.as_u16()),
        );
        anyhow::ensure!(status == StatusCode::NO_CONTENT, "publishing {ids} was answered {answer}");
        Ok(())
    }
}
