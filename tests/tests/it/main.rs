//! The whole system, from request to webhook to record. Most tests run twice: in one process and in four.

mod accounts;
mod audit;
mod conformance;
mod ecg;
mod examples;
mod faults;
mod interop;
mod journeys;
mod limits;
mod openapi;
mod refusals;
mod secrets;
mod tokens;
mod walk;
