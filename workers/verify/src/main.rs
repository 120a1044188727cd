//! The worker of the verify stage: `handover-verify --help`.

fn main() -> std::process::ExitCode {
    handover_worker::stage_main(handover_worker::StageName::Verify)
}
