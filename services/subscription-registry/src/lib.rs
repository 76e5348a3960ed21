//! Configuration APIs of all surfaces: HTTP to SQL to the config bucket.
