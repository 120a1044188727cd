//! The gate for applications in any language: `handover-gate --help`.

fn main() -> std::process::ExitCode {
    handover_gate::sidecar::main()
}
