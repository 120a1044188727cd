//! Identity's service: `handover-identity --help`.

fn main() -> std::process::ExitCode {
    handover_worker::identity_main()
}
