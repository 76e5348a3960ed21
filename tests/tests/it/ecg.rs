//! The ECG surface (SPEC 6) at the whole system: all 53 endpoints, what its users do with them, and other people's programs.

mod activating;
mod bridging;
pub(crate) mod day;
mod endpoints;
mod external;
mod health;
mod paging;
mod pausing;
mod posting;
mod repeating;
mod routes;
mod secrets;
mod shapes;
mod things;
mod walk;
pub(crate) mod world;
