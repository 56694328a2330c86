//! Backs up, restores and verifies: the whole program.

// Threads hand large buffers to each other; the system's allocator keeps a third more memory then
// (docs/adr/0014).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    decube_backup_cli::run(decube_backup_cli::builtin_registry(), std::env::args_os())
}
