//! What the digest notices, what the decoder withstands, and that `docs/digest.md` and a real Postgres say the same
//! as the code. One binary, so that there is one link step.

mod common;
mod copy_wire;
mod digest_notices;
mod sql_agrees;
mod vectors;
