//! What kind of world a seed makes. Each kind of fault is there or not, so that some worlds have much of one and nothing
//! of another, and a third has none at all and is held to the strictest rules.

use super::chance::Chance;

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) dispatchers: usize,
    /// Over how long events are published, in milliseconds.
    pub(crate) span: i64,
    /// Of a thousand steps of a process, how many does it not survive.
    pub(crate) crashes: u32,
    /// Of a thousand steps, how many are followed by a freeze of the process.
    pub(crate) pauses: u32,
    /// Of a thousand steps, how many are followed by a step of the machine's clock.
    pub(crate) clock_steps: u32,
    /// How far a clock is off at most. THREATS 10: more than 5 s is not ready.
    pub(crate) clock_error_max: i64,
    /// Of a thousand requests to the broker, and of its acknowledgements, how many are lost.
    pub(crate) lost: u32,
    /// Of a thousand messages handed out, how many are handed out twice.
    pub(crate) duplicated: u32,
    /// Of a thousand messages handed out, how many out of order.
    pub(crate) reordered: u32,
    /// Whether the activity log is away for some time.
    pub(crate) outages: bool,
    /// Whether the broker restarts.
    pub(crate) broker_restarts: bool,
    /// After this many crashes and freezes there are no more.
    pub(crate) strikes_max: u32,
    /// After this instant there are no faults, counted from the beginning.
    pub(crate) faults_until: i64,
    /// Whether people change things while they run.
    pub(crate) operators: bool,
}

impl Settings {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let span = chance.pick(&[20 * SECOND, 600 * SECOND, 6 * HOUR, 6 * DAY]);
        let faultless = Self {
            dispatchers: chance.between(1, 3) as usize,
            span,
            crashes: 0,
            pauses: 0,
            clock_steps: 0,
            clock_error_max: 0,
            lost: 0,
            duplicated: 0,
            reordered: 0,
            outages: false,
            broker_restarts: false,
            strikes_max: 0,
            faults_until: 0,
            operators: chance.hits(600),
        };
        if chance.hits(333) {
            return faultless;
        }
        Self {
            crashes: chance.pick(&[0, 5, 20, 60]),
            pauses: chance.pick(&[0, 0, 10, 40]),
            clock_steps: chance.pick(&[0, 0, 20]),
            clock_error_max: chance.pick(&[0, 4900]),
            lost: chance.pick(&[0, 5, 30, 100]),
            duplicated: chance.pick(&[0, 0, 20]),
            reordered: chance.pick(&[0, 200]),
            outages: chance.hits(200),
            broker_restarts: chance.hits(100),
            strikes_max: chance.between(1, 8) as u32,
            faults_until: span + chance.pick(&[60 * SECOND, HOUR, 5 * DAY]),
            ..faultless
        }
    }

    /// Whether nothing goes wrong but receivers.
    pub(crate) const fn is_faultless(&self) -> bool {
        self.faults_until == 0
    }
}
