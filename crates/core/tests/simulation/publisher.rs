//! Publishers, and ingest: real JSON, judged by `core`, stored in one commit. As `services/ingest`.

use std::rc::Rc;

use slipstream_core::config::AccountKind;
use slipstream_core::contract::Meta;
use slipstream_core::event::json;
use slipstream_core::ids::EventKey;
use slipstream_core::slipstream::{Accepted, accept, accept_batch};
use slipstream_core::timestamp::Timestamp;

use super::chance::Chance;
use super::message::{Outgoing, Payload, Subject};
use super::mutation::Mutation;
use super::node::{INGEST, Node};
use super::world::World;

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;
const SOURCE: &str = "https://post.example/letters";

/// An event as its publisher writes it.
#[derive(Debug, Clone)]
struct Draft {
    id: u64,
    event_type: &'static str,
    visibility: &'static str,
    priority: u64,
    intended_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    content: u64,
    flaw: Option<Flaw>,
}

/// Why an event is refused.
#[derive(Debug, Clone, Copy)]
enum Flaw {
    NoType,
    VisibilityOfOthers,
    ExpiresFirst,
    Priority,
    OtherSite,
}

/// Has events published over the world's span, and some of them again.
pub(crate) fn begin(world: &Rc<World>) {
    let requests = world.between(1, 6);
    let mut id = 0;
    for _ in 0..requests {
        let at = world.between(0, world.settings.span);
        world.history.borrow_mut().requests.push(at);
        let size = world.chance(|chance| chance.pick(&[1, 1, 1, 2, 3]));
        let now = Timestamp::from_millis(world.executor.now() + at);
        let drafts: Vec<_> = (0..size)
            .map(|_| {
                id += 1;
                world.chance(|chance| Draft::new(chance, id, now))
            })
            .collect();
        let repeats = world.chance(|chance| repeats(chance, &drafts));
        for (later, drafts) in repeats.into_iter().chain([(0, drafts)]) {
            let node = world.node(INGEST);
            world.executor.after(at + later, move || node.clone().spawn(publish(node, drafts)));
        }
    }
}

/// When a request is repeated, if it is, and with what: the same, or other events under the same identities.
fn repeats(chance: &mut Chance, drafts: &[Draft]) -> Vec<(i64, Vec<Draft>)> {
    let mut repeats = Vec::new();
    while repeats.len() < 2 && chance.hits(250) {
        let (first, last) = chance.pick(&[
            (0, 5 * SECOND),
            (HOUR, 2 * HOUR),
            (3 * HOUR, 12 * HOUR),
            (2 * DAY, 6 * DAY),
            (8 * DAY, 9 * DAY),
        ]);
        let mut drafts = drafts.to_vec();
        if chance.hits(400) {
            for draft in &mut drafts {
                draft.content += 1;
                draft.intended_at = None;
            }
        }
        repeats.push((chance.between(first, last), drafts));
    }
    repeats
}

impl Draft {
    fn new(chance: &mut Chance, id: u64, now: Timestamp) -> Self {
        let types = [
            "communications.letter.created",
            "communications.letter.created",
            "communications.letter.creation_failed",
            "communications.letter.status_updated",
            "Slipstream.UrlShortener.UrlCreated",
        ];
        let after = |millis: i64| Timestamp::from_millis(now.as_millis() + millis);
        let wait = chance.pick(&[2 * SECOND, 60 * SECOND, HOUR, 5 * DAY]);
        let intended_at = chance.hits(350).then(|| after(chance.between(-SECOND, wait)));
        let life = chance.pick(&[0, 3 * SECOND, 400 * SECOND, 6 * HOUR, 4 * DAY]);
        let expires_at = chance.hits(350).then(|| {
            let from = intended_at.map_or(now.as_millis(), |at| at.as_millis().max(now.as_millis()));
            Timestamp::from_millis(from + 1 + chance.between(0, life))
        });
        let flaws = [Flaw::NoType, Flaw::VisibilityOfOthers, Flaw::ExpiresFirst, Flaw::Priority, Flaw::OtherSite];
        Self {
            id,
            event_type: chance.pick(&types),
            visibility: chance.pick(&["1", "1", "1", "1", "1", "1", "0"]),
            priority: chance.below(3),
            intended_at,
            expires_at,
            content: 0,
            flaw: chance.hits(60).then(|| chance.pick(&flaws)),
        }
    }

    fn json(&self) -> String {
        let Self { id, event_type, mut visibility, mut priority, mut intended_at, mut expires_at, content, flaw } =
            *self;
        let mut site = "s8n6EzC";
        match flaw {
            None | Some(Flaw::NoType) => {}
            Some(Flaw::VisibilityOfOthers) => visibility = "2",
            Some(Flaw::Priority) => priority = 7,
            Some(Flaw::OtherSite) => site = "sUkLWZg",
            Some(Flaw::ExpiresFirst) => {
                (intended_at, expires_at) = (Some(Timestamp::from_millis(2)), Some(Timestamp::from_millis(1)));
            }
        }
        let type_name = if matches!(flaw, Some(Flaw::NoType)) { "kind" } else { "type" };
        let time = |name: &str, at: Option<Timestamp>| at.map_or(String::new(), |at| format!(r#","{name}":"{at}""#));
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"{SOURCE}","{type_name}":"{event_type}","siteslug":"{site}","visibility":{visibility},"priority":{priority}{}{},"data":{{"content":{content}}}}}"#,
            time("intendeddeliverytime", intended_at),
            time("expirytime", expires_at),
        )
    }
}

/// Publishes a request, and again when it is not answered with 2xx; then gives up.
async fn publish(node: Node, drafts: Vec<Draft>) {
    let body = match drafts.as_slice() {
        [one] => one.json(),
        many => format!("[{}]", many.iter().map(Draft::json).collect::<Vec<_>>().join(",")),
    };
    let keys: Vec<_> =
        drafts.iter().map(|draft| EventKey::new(&node.world.site.slug, SOURCE, &draft.id.to_string())).collect();
    for _ in 0..3 {
        node.step().await;
        match request(&node, &body, drafts.len() == 1).await {
            Answered::Stored => {
                node.world.trace(|| format!("204 {body}"));
                node.world.history.borrow_mut().answered.extend(keys);
                return;
            }
            Answered::Refused => {
                node.world.trace(|| format!("400 {body}"));
                node.world.history.borrow_mut().refused.extend(keys);
                return;
            }
            Answered::Unavailable => node.sleep(SECOND).await,
        }
    }
}

enum Answered {
    Stored,
    Refused,
    Unavailable,
}

/// `POST /sites/{slug}/events`
async fn request(node: &Node, body: &str, is_single: bool) -> Answered {
    let judged = if is_single { judge(node, body).map(|event| vec![event]) } else { judge_batch(node, body) };
    let (events, answered) = match judged {
        Some(events) => (events, Answered::Stored),
        None if node.world.is(Mutation::KeepTheGoodHalf) => (good_half(node, body), Answered::Refused),
        None => return Answered::Refused,
    };
    let now = node.now();
    for event in events {
        if node.publish(outgoing(node, event, now)).await.is_err() {
            return Answered::Unavailable;
        }
    }
    answered
}

fn judge(node: &Node, body: &str) -> Option<Accepted> {
    accept(json::parse(body.as_bytes()).ok()?, &node.world.site, AccountKind::External).ok()
}

fn judge_batch(node: &Node, body: &str) -> Option<Vec<Accepted>> {
    accept_batch(json::parse_batch(body.as_bytes()).ok()?, &node.world.site, AccountKind::External).ok()
}

fn good_half(node: &Node, body: &str) -> Vec<Accepted> {
    let events = json::parse_batch(body.as_bytes()).unwrap_or_default();
    events.into_iter().filter_map(|event| accept(event, &node.world.site, AccountKind::External).ok()).collect()
}

/// Where an accepted event goes: it is due, or its time is ahead.
fn outgoing(node: &Node, event: Accepted, now: Timestamp) -> Outgoing {
    let site = &node.world.site.slug;
    let Accepted { key, visibility, lane, intended_at, expires_at, body, .. } = event;
    let meta = Meta { expires_at, intended_at, ..Meta::new(site.clone(), now) };
    let due_subject = Subject::Event(visibility, lane, site.clone());
    let payload = Payload::Event(body.into());
    let is_ahead = intended_at.is_some_and(|at| at > now) && !node.world.is(Mutation::IgnoreIntendedTime);
    let message = if is_ahead {
        Outgoing::new(Subject::Later(lane, site.clone(), key), payload).due_subject(due_subject)
    } else {
        Outgoing::new(due_subject, payload)
    };
    message.id(key.to_string()).meta(meta)
}
