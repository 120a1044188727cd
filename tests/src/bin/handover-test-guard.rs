//! Ends a sandbox once the process that started it has ended, however it did: reads standard input, whose other
//! end that process alone holds, until it is closed, then ends the servers of the folder that it was given.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(root) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: handover-test-guard SANDBOX_FOLDER");
        return ExitCode::from(2);
    };
    // An error means the same as the end: nobody holds the other end any more.
    let _ended = std::io::stdin().read_to_end(&mut Vec::new());
    if !root.exists() {
        return ExitCode::SUCCESS;
    }
    match handover_sandbox::stop_kept(&root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handover-test-guard: {error}");
            ExitCode::FAILURE
        }
    }
}
