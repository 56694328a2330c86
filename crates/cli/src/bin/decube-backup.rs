//! Backs up, restores and verifies: the whole program.

fn main() -> std::process::ExitCode {
    decube_backup_cli::run(decube_backup_cli::builtin_registry(), std::env::args_os())
}
