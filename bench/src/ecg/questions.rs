//! What is asked of the history, as the endpoints ask it.

use std::time::Instant;

use anyhow::{bail, ensure};
use sea_orm::Statement;
use slipstream_core::ids::ActivityId;
use slipstream_store::ecg::Order;
use slipstream_store::ecg::activities::{Cursor, Filter, count, get, page, tree};
use slipstream_store::{ConnectionTrait, DbBackend, Store, StoreError};

use super::explaining::{Explaining, is_of_all_rows};
use super::figures::Question;
use super::history::{EVENTS, History, event};
use crate::stats::Latency;

/// The longest page that can be asked for (SPEC 6.1).
const TAKE: u64 = 100;

/// One question.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// How many there are, and a page behind so many.
    Page(Filter, Order, u64),
    /// The same, behind an activity.
    After(Filter, Order, Cursor),
    /// How many there are.
    Total(Filter),
    /// A tree.
    Tree(ActivityId),
    /// One activity.
    One(ActivityId),
}

/// Asks everything so many times.
///
/// # Errors
/// If the database would look at all activities for one of them, or did.
pub(super) async fn ask(store: &Store, history: &History, rounds: u32) -> anyhow::Result<Vec<Question>> {
    let scans_before = scans(store).await?;
    let mut questions = Vec::new();
    for (name, asked) in all(store, history).await? {
        let explaining = Explaining::new(store.connection());
        let items = put(&explaining, asked).await?;
        let plans = explaining.into_plans();
        if let Some(plan) = plans.iter().find(|plan| is_of_all_rows(plan)) {
            bail!("{name}: all activities would be looked at: {plan}");
        }
        let mut nanos = Vec::new();
        for _ in 0..rounds {
            let begun = Instant::now();
            put(store.connection(), asked).await?;
            nanos.push(u64::try_from(begun.elapsed().as_nanos())?);
        }
        questions.push(Question { name, items, latency: Latency::of(nanos), plans });
    }
    // Also when a statement was asked so often that it was planned once for all values.
    let scans_after = scans(store).await?;
    ensure!(scans_before == scans_after, "the table of activities was looked at as a whole");
    Ok(questions)
}

/// Puts a question; says how many activities the answer has.
async fn put(connection: &impl ConnectionTrait, asked: Asked) -> Result<usize, StoreError> {
    Ok(match asked {
        Asked::Page(filter, order, offset) => {
            count(connection, &filter).await?;
            page(connection, &filter, order, offset, TAKE, None).await?.0.len()
        }
        Asked::After(filter, order, cursor) => {
            count(connection, &filter).await?;
            page(connection, &filter, order, 0, TAKE, Some(cursor)).await?.0.len()
        }
        Asked::Total(filter) => {
            count(connection, &filter).await?;
            0
        }
        Asked::Tree(root) => tree(connection, root).await?.len(),
        Asked::One(id) => usize::from(get(connection, id).await?.is_some()),
    })
}

async fn all(store: &Store, history: &History) -> anyhow::Result<Vec<(String, Asked)>> {
    let all = Filter { subscription: history.main, activations: false, success: None, event: None };
    let failed = Filter { success: Some(false), ..all };
    let (most, rare) = (Some(event(0)), Some(event(EVENTS - 1)));
    let connection = store.connection();
    let lists = [
        ("all", all),
        ("succeeded", Filter { success: Some(true), ..all }),
        ("failed", failed),
        ("of an event", Filter { event: most, ..all }),
        ("of an event, failed", Filter { event: most, ..failed }),
        ("of a rare event", Filter { event: rare, ..all }),
        ("of a rare event, failed", Filter { event: rare, ..failed }),
        ("of another subscription", Filter { subscription: history.other, ..all }),
    ];
    let mut questions = Vec::new();
    for (name, filter) in lists {
        let total = count(connection, &filter).await?;
        ensure!(total > 0 || name == "of a rare event, failed", "no activities {name}");
        let places = [
            ("first page", Order::Desc, 0),
            ("page at a quarter", Order::Desc, total / 4),
            ("page in the middle", Order::Desc, total / 2),
            ("last page", Order::Desc, total.saturating_sub(TAKE)),
            ("page in the middle, oldest first", Order::Asc, total / 2),
        ];
        for (place, order, offset) in places {
            questions.push((format!("{name} ({total}): {place}"), Asked::Page(filter, order, offset)));
        }
    }
    let total = count(connection, &all).await?;
    let (_, cursor) = page(connection, &all, Order::Desc, total / 2, TAKE, None).await?;
    if let Some(cursor) = cursor {
        questions.push(("all: page behind an activity in the middle".into(), Asked::After(all, Order::Desc, cursor)));
    }
    questions.push(("all: total".into(), Asked::Total(all)));
    questions.push(("a tree".into(), Asked::Tree(history.ordinary)));
    questions.push(("a tree of 1000".into(), Asked::Tree(history.tree)));
    questions.push(("one activity".into(), Asked::One(history.ordinary)));
    Ok(questions)
}

/// How often PostgreSQL has looked at the table of activities as a whole, as it counts itself.
async fn scans(store: &Store) -> anyhow::Result<Option<i64>> {
    let connection = store.connection();
    if connection.get_database_backend() != DbBackend::Postgres {
        return Ok(None);
    }
    let ask = |sql: &str| Statement::from_string(DbBackend::Postgres, sql);
    connection.query_one_raw(ask("SELECT pg_stat_force_next_flush()")).await?;
    let row =
        connection.query_one_raw(ask("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'ecg_activities'"));
    let row = row.await?.ok_or_else(|| anyhow::anyhow!("PostgreSQL does not count what it does"))?;
    Ok(Some(row.try_get("", "seq_scan")?))
}
