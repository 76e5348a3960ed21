//! Everything that a stranger or a tenant can make grow has a limit, and beyond it others are served as before (THREATS 7).

mod bodies;
mod idle;
mod malformed;
mod quota;
mod slow;
mod stage;
