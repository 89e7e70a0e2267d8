//! The binary's commands.

use std::path::Path;
use std::process::Command;

use super::store;

/// `cache-server`; what it is to do comes after.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cache-server"))
}

/// `cache-server serve` on a free port, without a line per request; where its data is comes after.
pub(crate) fn serve() -> Command {
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--quiet"]);
    command
}

/// The same with its data in `data`, or the place in a bucket that is named after it.
pub(crate) fn serve_in(data: &Path) -> Command {
    let mut command = serve();
    command.args(store::place(data));
    command
}

/// A command for the data of a server; its exit code, and all that it printed.
pub(crate) fn run(arguments: &[&str], data: &Path) -> (Option<i32>, String) {
    let mut command = program();
    store::equip(&mut command);
    let output = command.args(arguments).args(store::place(data)).output().expect("cache-server runs");
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Lets the server itself look at its data.
#[track_caller]
pub(crate) fn assert_clean(data: &Path) {
    let (code, text) = run(&["verify"], data);
    assert_eq!(code, Some(0), "{text}");
}
