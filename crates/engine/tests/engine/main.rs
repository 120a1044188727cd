//! The stages and the reconciler's decisions on real servers: crashes between two steps, late and doubled
//! workers, users who are in each other's way. Each test's name is the claim it proves.

mod bundles;
mod chaos;
mod drain;
mod orphans;
mod position;
mod report;
mod rollback;
mod room;
mod takeback;
mod truth;
mod world;
