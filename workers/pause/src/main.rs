//! The worker of the pause stage: `handover-pause --help`.

fn main() -> std::process::ExitCode {
    handover_worker::stage_main(handover_worker::StageName::Pause)
}
