//! Bad input: what each gets, and that it changes nothing. `docs/bad_input.md` is the table of all rows here, and is
//! compared with them.
//!
//! A row is an input with the exit code or status that it must get and words of the message. Each place has a test
//! that runs its rows through the real programs and then looks at what must be as it was.

mod bodies;
mod cohorts;
mod corpus;
mod fuzz;
mod keys;
mod page;
mod plans;
mod queues;
mod row;
mod services;
mod settings;
mod wire;
