//! Record, search and explain: bus to SQL to HTTP.
