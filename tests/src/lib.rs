//! The whole system under test: real programs, a real broker, real databases, driven through the public APIs only.
//!
//! | need | what |
//! | --- | --- |
//! | a running system | [`System`], in one process, in four, or as `slipstream up`: [`Shape`] |
//! | the same test in several shapes | [`journeys!`], [`journeys_of_programs!`] |
//! | somebody who uses the ECG surface | [`Ecg`] |
//! | somebody who publishes and subscribes | [`Account`], from [`System::external`] and [`System::internal`] |
//! | what an operator sees and does | [`Operator`], at [`System::operator`] |
//! | somebody who takes webhooks | [`slipstream_test_support::Receiver`] |
//! | to check a webhook's signature | [`signature::check`] |
//! | other people's libraries | [`interop`] |
//!
//! Nothing here reaches past an API into a service, and fixtures panic with an explanation instead of returning
//! errors: a test can do nothing else with one.

use std::time::Duration;

pub mod api;
pub mod interop;
mod relay;
mod shape;
pub mod signature;
pub mod system;

pub use api::{Account, Answer, Bases, Ecg, Mode, NewAccount, Operator};
pub use shape::Shape;
pub use system::{Handshake, OPERATOR_TOKEN, ORIGIN, Replica, Service, Settings, System, Targets};

/// How long anything may take before a test gives up. On an idle machine nearly all of it takes milliseconds.
pub const LIMIT: Duration = Duration::from_secs(20);
