//! The reconciler: `handover-reconcile --help`.

fn main() -> std::process::ExitCode {
    handover_worker::reconcile_main()
}
