//! What people use the system for, from end to end.

mod delivering;
