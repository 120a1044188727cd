//! The worker of the rollback stage: `handover-rollback --help`.

fn main() -> std::process::ExitCode {
    handover_worker::stage_main(handover_worker::StageName::Rollback)
}
