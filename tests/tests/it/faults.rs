//! Parts die, and what was accepted is delivered all the same (THREATS 10). All with four processes.

mod activity_log;
mod broker;
mod database;
mod dispatcher;
mod everything;
mod load;
mod replaying;
