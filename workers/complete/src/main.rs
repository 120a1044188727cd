//! The worker of the complete stage: `handover-complete --help`.

fn main() -> std::process::ExitCode {
    handover_worker::stage_main(handover_worker::StageName::Complete)
}
