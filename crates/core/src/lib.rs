//! The domain of Slipstream: events, subscriptions, deliveries, and every decision about them.
//!
//! Nothing here opens a socket, reads a clock or draws a random number: time and randomness come in as
//! arguments, so each decision can be tested, replayed and simulated. Bytes become domain values once,
//! at the edge, by [`event`] and [`slipstream`]; past that point nothing is re-checked.
//!
//! Where to look:
//!
//! | question | module |
//! | --- | --- |
//! | what an event is, and how it is read and written | [`event`] |
//! | which events the Slipstream surface accepts | [`slipstream`] |
//! | who receives an event | [`matching`] |
//! | what an answer means | [`answer`] |
//! | when the next attempt is | [`retry`] |
//! | whether an attempt may start, and what follows it | [`delivery`] |
//! | when a failing endpoint is left alone | [`breaker`] |
//! | how many requests a minute an endpoint gets | [`rate`] |
//! | how a waiting event's times are changed | [`reschedule`] |
//! | what an ECG post says, and its hash | [`ecg`] |
//! | which events we publish ourselves | [`operational`] |
//! | how a webhook is signed | [`signing`] |
//! | how a repeated request is recognised | [`idempotency`] |
//! | how a secret is kept | [`sealing`] |
//! | what travels on the bus | [`contract`], [`config`] |

pub mod answer;
pub mod breaker;
pub mod config;
pub mod contract;
pub mod delivery;
pub mod ecg;
pub mod event;
pub mod feature;
pub mod idempotency;
pub mod ids;
pub mod lane;
pub mod limits;
pub mod matching;
mod openapi;
pub mod operational;
pub mod problem;
pub mod rate;
pub mod reschedule;
pub mod retry;
pub mod sealing;
pub mod signing;
pub mod slipstream;
pub mod slug;
pub mod timestamp;
pub mod trace;
