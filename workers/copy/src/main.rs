//! The worker of the copy stage: `handover-copy --help`.

fn main() -> std::process::ExitCode {
    handover_worker::stage_main(handover_worker::StageName::Copy)
}
