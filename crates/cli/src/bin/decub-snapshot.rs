//! Short commands for named snapshots.

fn main() -> std::process::ExitCode {
    decube_backup_cli::run_snapshot(decube_backup_cli::builtin_registry(), std::env::args_os())
}
