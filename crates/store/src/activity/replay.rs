//! Delivering again (SPEC 4.1, 4.9): which deliveries, and the durable jobs that walk over many of them.
//!
//! A job's place is the id of the last delivery that it is done with. Who works on it holds it by a lease and a fence
//! (THREATS 8): each claim makes a new fence, and every step of the worker names its own, so one that slept past its
//! lease changes nothing any more. A worker that dies loses the step in hand and nothing else.
//!
//! A job is about the deliveries that had ended when it was made. Their set does not grow while it runs, so what was
//! counted is what is walked over.

mod jobs;
mod lease;
mod walk;

pub use self::jobs::{JobState, NewJob, ReplayJob, cancel, create, forget, job, jobs, pause, resume};
pub use self::lease::{Claim, Step, advance, claim, finish, release, renew, state_of};
pub use self::walk::{Original, count, event_of, originals, replays_to};
