//! A program with two crash points, for the test that kills it: prints a line before and after each.

use std::io::Write as _;

use handover_fault::{Mutant, mutated, point};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout();
    for time in 1..=3 {
        writeln!(out, "before {time} {}", mutated(Mutant::NoLease))?;
        out.flush()?;
        point("crash.first").await?;
        point("crash.second").await?;
        writeln!(out, "after {time}")?;
        out.flush()?;
    }
    Ok(())
}
