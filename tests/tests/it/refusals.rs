//! What is refused, and how (THREATS 7, "Known answers to keep").

mod publishing;
mod subscribing;
