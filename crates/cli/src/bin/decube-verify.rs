//! Integrity checks for scripts and monitors.

fn main() -> std::process::ExitCode {
    decube_backup_cli::run_verify(decube_backup_cli::builtin_registry(), std::env::args_os())
}
