//! Yadokari.
fn main() {
    yadokari::sandbox::run_if_child();
}
