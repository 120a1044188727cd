//! End-to-end tests on real servers. Each test's name is its claim.

mod stages;
