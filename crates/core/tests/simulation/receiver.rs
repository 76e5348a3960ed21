//! Receivers: each answers as it likes, and differently from phase to phase.

use std::rc::Rc;

use slipstream_core::answer::{Answer, ErrorCode};
use slipstream_core::signing::{Key, verify};
use slipstream_core::timestamp::Timestamp;

use super::chance::Chance;
use super::dispatcher::Work;
use super::history::AttemptMade;
use super::node::Node;
use super::world::START;

/// How long an attempt may take (SPEC 2.8), in milliseconds.
const TIMEOUT: i64 = 30_000;

/// What is sent.
pub(crate) struct Request<'a> {
    pub(crate) work: &'a Work,
    /// The sender's clock.
    pub(crate) now: Timestamp,
    pub(crate) webhook_id: String,
    pub(crate) timestamp: i64,
    pub(crate) signature: String,
    pub(crate) body: Rc<[u8]>,
}

/// How a receiver behaves for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Takes everything, quickly.
    Well,
    /// Takes everything, in up to 29 s.
    Slow,
    /// Answers 5xx and 3xx, or nothing.
    Failing,
    /// Asks for less: 429 and 503, with and without `Retry-After`.
    Busy,
    /// Never answers.
    Silent,
    /// Takes some, refuses some for good, fails at some.
    Mixed,
    /// Answers 410.
    Gone,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    /// Until when each mood lasts; the last one for ever.
    moods: Vec<(i64, Mood)>,
    /// The keys that it verifies with, each from an instant on.
    keys: Vec<(i64, Key)>,
}

impl Receiver {
    pub(crate) fn new(chance: &mut Chance, span: i64, key: Key) -> Self {
        const ALL: [Mood; 10] = [
            Mood::Well,
            Mood::Well,
            Mood::Well,
            Mood::Slow,
            Mood::Failing,
            Mood::Failing,
            Mood::Busy,
            Mood::Silent,
            Mood::Mixed,
            Mood::Gone,
        ];
        let mut until = START;
        let count = chance.between(1, 4);
        let moods = (0..count).map(|_| {
            until += chance.between(1, span);
            (until, chance.pick(&ALL))
        });
        Self { moods: moods.collect(), keys: vec![(0, key)] }
    }

    /// Verifies with `key` from `at` on.
    pub(crate) fn takes_key(&mut self, at: i64, key: Key) {
        self.keys.push((at, key));
    }

    /// Whether it is well all the time.
    pub(crate) fn is_well(&self) -> bool {
        self.moods.iter().all(|(_, mood)| *mood == Mood::Well)
    }

    fn mood(&self, now: i64) -> Mood {
        let current = self.moods.iter().find(|(until, _)| now < *until).or(self.moods.last());
        current.map_or(Mood::Well, |(_, mood)| *mood)
    }

    fn verifies(&self, request: &Request<'_>, now: i64) -> bool {
        let key = self.keys.iter().rev().find(|(from, _)| *from <= now);
        key.is_some_and(|(_, key)| {
            let (timestamp, seconds) = (request.timestamp.to_string(), now.div_euclid(1000));
            let key = std::slice::from_ref(key);
            verify(key, &request.webhook_id, &timestamp, &request.signature, &request.body, seconds).is_ok()
        })
    }
}

/// What a mood answers, and how long it takes.
fn answer(mood: Mood, chance: &mut Chance) -> (Answer, i64) {
    let status = |status: u16| Answer { result: Ok(status), retry_after: None, body: Vec::new() };
    let retry_after = |code: u16, chance: &mut Chance| {
        let text = chance.pick(&["1", "7", "120", "3600", "200000", "soon", ""]);
        Answer { retry_after: (!text.is_empty()).then(|| text.to_owned()), ..status(code) }
    };
    let quick = chance.between(1, 40);
    match mood {
        Mood::Well => (status(chance.pick(&[200, 202, 204])), quick),
        Mood::Slow => (status(200), chance.between(500, 29_000)),
        Mood::Failing => match chance.below(4) {
            0 => (status(chance.pick(&[500, 502, 504, 302])), quick),
            1 => (Answer::error(ErrorCode::Connect), quick),
            2 => (Answer::error(ErrorCode::Tls), quick),
            _ => (status(500), quick),
        },
        Mood::Busy => (retry_after(chance.pick(&[429, 503]), chance), quick),
        Mood::Silent => (Answer::error(ErrorCode::Timeout), TIMEOUT),
        Mood::Mixed => match chance.below(6) {
            0 | 1 => (status(204), quick),
            2 => (status(chance.pick(&[400, 404, 415])), quick),
            3 => (Answer::error(ErrorCode::Timeout), TIMEOUT),
            4 => (retry_after(503, chance), quick),
            _ => (status(500), quick),
        },
        Mood::Gone => (status(410), quick),
    }
}

/// One HTTP exchange. Written into the history when it starts, whatever becomes of the sender.
pub(crate) async fn call(node: &Node, request: Request<'_>) -> Answer {
    let world = Rc::clone(&node.world);
    let delivery = request.work.delivery;
    let (made, answer, took) = begin(node, request);
    world.trace(|| format!("-> {delivery} attempt {} at {}", made.number(), made.subscription));
    let index = {
        let mut history = world.history.borrow_mut();
        history.stats.attempts += 1;
        history.attempts.push(made);
        history.attempts.len() - 1
    };
    node.sleep(took).await;
    world.trace(|| format!("<- {delivery} {:?} {:?}", answer.result, answer.retry_after));
    world.history.borrow_mut().attempts[index].ended = Some((node.monotonic(), answer.clone()));
    answer
}

/// The request as the receiver sees it, what it answers, and how long it takes over that.
fn begin(node: &Node, request: Request<'_>) -> (AttemptMade, Answer, i64) {
    let (work, now) = (request.work, node.monotonic());
    let receivers = node.world.receivers.borrow();
    let receiver = receivers.get(&work.subscription).expect("every subscription has a receiver");
    let (answer, took) = node.world.chance(|chance| answer(receiver.mood(now), chance));
    let made = AttemptMade {
        delivery: work.delivery,
        subscription: work.subscription,
        key: work.key,
        meta: work.meta.clone(),
        instance: work.message.instance,
        process: node.process,
        started: now,
        clock: request.now,
        ended: None,
        recorded: None,
        is_verified: receiver.verifies(&request, now),
        body_hash: AttemptMade::body_hash(&request.body),
        webhook_id: request.webhook_id,
    };
    (made, answer, took)
}
