//! A month of posts, written by the functions that record what the bus tells.

use std::time::Instant;

use sea_orm::{ConnectionTrait as _, DbBackend, Statement};
use slipstream_core::config::Surface;
use slipstream_core::contract::PostKind;
use slipstream_core::delivery::DeliveryState;
use slipstream_core::ids::{ActivityId, DeliveryId, EcgEventId, EventKey, ReplayId, SubscriptionId};
use slipstream_core::lane::Lane;
use slipstream_core::slug::Slug;
use slipstream_core::timestamp::Timestamp;
use slipstream_store::Store;
use slipstream_store::activity::{AttemptRecord, Batch, DeliveryRecord, record};
use slipstream_store::ecg::activities::{Content, New, Post, PostAttempt, PostRecord, Repeats, get, insert};
use uuid::Uuid;

use super::figures::Written;
use crate::stats::{rate, rounded};

/// When the month begins.
const BEGIN_MS: i64 = 1_772_323_200_000;
/// How long it is.
const MONTH_MS: i64 = 30 * 24 * 3600 * 1000;
/// Other subscriptions, and activities of each.
const OTHERS: u32 = 100;
const OF_OTHERS: u32 = 500;
/// Posts of one transaction.
const BATCH: u32 = 1000;
/// Activities of the one large tree.
const TREE: u32 = 1000;
/// Beside these, one activation of the one subscription for so many of its activities.
const PER_ACTIVATION: u32 = 100;

/// Event 0 has half of the posts, event 7 one of 10,000.
pub(super) const EVENTS: u128 = 8;

/// What was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct History {
    /// The subscription that has most.
    pub(super) main: SubscriptionId,
    /// One of the others.
    pub(super) other: SubscriptionId,
    /// The root of the large tree.
    pub(super) tree: ActivityId,
    /// The root of an ordinary one, in the middle.
    pub(super) ordinary: ActivityId,
}

pub(super) fn event(number: u128) -> EcgEventId {
    EcgEventId(Uuid::from_u128(0xe0_0000 + number))
}

pub(super) fn organization() -> Uuid {
    Uuid::from_u128(0x0e0e)
}

fn subscription(number: u32) -> SubscriptionId {
    // As drawn ones, they lie anywhere.
    SubscriptionId(Uuid::from_u128(u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)))
}

/// Writes a history with so many activities of one subscription.
pub(super) async fn write(store: &Store, activities: u32, say: &impl Fn(&str)) -> anyhow::Result<(History, Written)> {
    let begun = Instant::now();
    let total = u64::from(activities) + u64::from(OTHERS * OF_OTHERS);
    let (mut posts, mut written, mut of_main) = (0_u32, 0_u64, 0_u64);
    let (mut ordinary, mut told) = (None, 0);
    let mut others = 0;
    while of_main < u64::from(activities) || others < OTHERS * OF_OTHERS {
        let mut batch = Batch::default();
        for _ in 0..BATCH {
            // The others' are spread among those of the one.
            let is_due = u64::from(others) * u64::from(activities) < of_main * u64::from(OTHERS * OF_OTHERS);
            let to = if others < OTHERS * OF_OTHERS && (is_due || of_main >= u64::from(activities)) {
                others += 1;
                1 + others % OTHERS
            } else if of_main < u64::from(activities) {
                0
            } else {
                break;
            };
            let at = BEGIN_MS + i64::try_from(written)? * MONTH_MS / i64::try_from(total)?;
            let (delivery, made) = post(&mut batch, PostKind::Event, posts, to, at);
            posts += 1;
            written += u64::from(made);
            if to == 0 {
                of_main += u64::from(made);
                if of_main > u64::from(activities) / 2 {
                    ordinary.get_or_insert(ActivityId(delivery.0));
                }
            }
        }
        record(store, batch).await?;
        let part = written * 10 / total;
        if part > told {
            told = part;
            say(&format!("{written} activities"));
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    activate(store, posts, activities / PER_ACTIVATION).await?;
    let tree = large_tree(store).await?;
    tidy(store).await?;
    let history = History { main: subscription(0), other: subscription(1), tree, ordinary: ordinary.unwrap_or(tree) };
    let written = Written { activities: written, per_second: rate(written, seconds), megabytes: size(store).await? };
    Ok((history, written))
}

/// Posts that say that the one subscription was activated, over the month; they are numbered on.
async fn activate(store: &Store, first: u32, activations: u32) -> anyhow::Result<()> {
    for begin in (0..activations).step_by(BATCH as usize) {
        let mut batch = Batch::default();
        for number in begin..activations.min(begin + BATCH) {
            let at = BEGIN_MS + i64::from(number) * MONTH_MS / i64::from(activations);
            post(&mut batch, PostKind::Activation, first + number, 0, at);
        }
        record(store, batch).await?;
    }
    Ok(())
}

/// One post and its outcomes; says how many activities that makes.
fn post(batch: &mut Batch, kind: PostKind, number: u32, to: u32, at: i64) -> (DeliveryId, u32) {
    let site = Slug::of_organization(organization());
    let key = EventKey::new(&site, "/ecg/posts", &number.to_string());
    let made = Timestamp::from_millis(at);
    let delivery = DeliveryId::derive(made, subscription(to), &key);
    // By tens, since what becomes of a post goes by ones.
    let which = match number / 10 % 1000 {
        0 if number.is_multiple_of(10) => EVENTS - 1,
        tens if tens.is_multiple_of(2) => 0,
        tens => 1 + u128::from(tens) % (EVENTS - 2),
    };
    let payload = format!(
        r#"{{"eventType":"vitals.observations.created","version":"v1","data":{{"n":{number},"note":"{}"}}}}"#,
        "Routine check ".repeat(20)
    );
    batch.posts.push(PostRecord {
        delivery,
        key,
        organization: organization(),
        subscription: subscription(to),
        event: (kind == PostKind::Event).then(|| event(which)),
        kind,
        created_at: made,
        made_by: Some(Uuid::from_u128(7)),
        payload,
        raw_message: r#"{"source":"monitor"}"#.into(),
    });
    // Seven of ten are taken at once, two at the second attempt, one never. Activations are attempted once.
    let (attempts, is_taken) = match number % 10 {
        _ if kind == PostKind::Activation => (1, !number.is_multiple_of(10)),
        0..=6 => (1, true),
        7 | 8 => (2, true),
        _ => (3, false),
    };
    for attempt in 1..=attempts {
        let success = is_taken && attempt == attempts;
        let started_at = Timestamp::from_millis(at + 20 + i64::from(attempt - 1) * 60_000);
        let status = Some(if success { 204 } else { 503 });
        let response = (!success).then(|| b"too busy, come again".to_vec());
        let duration_us = 12_000;
        batch.attempts.push(AttemptRecord {
            delivery,
            number: attempt,
            started_at,
            duration_us,
            status,
            error: None,
            response: response.clone(),
        });
        let hash = Some(format!("{number:032x}{attempt:032x}"));
        batch.post_attempts.push(PostAttempt {
            delivery,
            number: attempt,
            started_at,
            duration_us,
            status,
            error: None,
            response,
            hash,
        });
    }
    batch.deliveries.push(DeliveryRecord {
        id: delivery,
        site,
        event_key: key,
        subscription: subscription(to),
        surface: Surface::Ecg,
        lane: Lane::Normal,
        state: if is_taken { DeliveryState::Succeeded } else { DeliveryState::Exhausted },
        reason: None,
        next_attempt_at: None,
        updated_at: Timestamp::from_millis(at + 130_000),
        replay: None,
    });
    (delivery, attempts)
}

/// A post of one of the others that was repeated by hand again and again.
async fn large_tree(store: &Store) -> anyhow::Result<ActivityId> {
    let at = |step: u32| Timestamp::from_millis(BEGIN_MS + MONTH_MS / 2 + i64::from(step) * 1000);
    let key = EventKey::new(&Slug::of_organization(organization()), "/ecg/posts", "large");
    let to = subscription(2);
    let root = DeliveryId::derive(at(0), to, &key);
    let new = New {
        id: ActivityId(root.0),
        repeats: None,
        organization: organization(),
        subscription: to,
        event: Some(event(1)),
        kind: PostKind::Event,
        post: Post::External { posted_at: Some(at(0)) },
        key,
        created_at: at(0),
        made_by: Uuid::from_u128(7),
        hash: None,
        content: Content::Own {
            payload: serde_json::value::to_raw_value("a payload of some length, as they are")?,
            raw_message: serde_json::value::to_raw_value("something")?,
        },
    };
    let mut last = make(store, &new).await?;
    for step in 1..TREE {
        let replay = ReplayId(Uuid::from_u128(u128::from(step)));
        let id = ActivityId(DeliveryId::derive_replay(at(0), to, &key, replay).0);
        let post = Post::Platform { replay: Some(replay) };
        let again =
            New { id, repeats: Some(last), post, created_at: at(step), content: Content::Of(new.id), ..new.clone() };
        let made = make(store, &again).await?;
        // Ten below each.
        if step % 10 == 0 {
            last = made;
        }
    }
    Ok(new.id)
}

async fn make(store: &Store, new: &New) -> anyhow::Result<Repeats> {
    let transaction = store.begin().await?;
    insert(&transaction, new).await?;
    transaction.commit().await?;
    let made = get(store.connection(), new.id).await?;
    Ok(Repeats::of(&made.ok_or_else(|| anyhow::anyhow!("what was made is not there"))?))
}

/// What PostgreSQL does by itself after a while, and SQLite need not.
async fn tidy(store: &Store) -> anyhow::Result<()> {
    if store.connection().get_database_backend() == DbBackend::Postgres {
        store.connection().execute_unprepared("SET statement_timeout = 0").await?;
        store.connection().execute_unprepared("VACUUM (ANALYZE)").await?;
    }
    Ok(())
}

async fn size(store: &Store) -> anyhow::Result<Option<f64>> {
    let backend = store.connection().get_database_backend();
    let sql = match backend {
        DbBackend::Postgres => "SELECT pg_database_size(current_database()) AS bytes",
        _ => "SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()",
    };
    let row = store.connection().query_one_raw(Statement::from_string(backend, sql)).await?;
    let bytes: Option<i64> = row.map(|row| row.try_get("", "bytes")).transpose()?;
    Ok(bytes.map(|bytes| rounded(bytes as f64 / 1e6, 1)))
}
