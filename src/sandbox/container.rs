//! Whether this process runs in a container: its root is somebody's own only then.

use std::fs;
use std::path::Path;

/// Files that only containers have.
const MARKS: [&str; 6] = [
    "/run/.containerenv",
    "/.dockerenv",
    "/var/run/secrets/kubernetes.io/serviceaccount",
    "/run/systemd/container",
    "/__runsc_containers__",
    "/proc/vz",
];

/// Words in the control group of a container's process.
const CGROUP_WORDS: [&str; 7] = ["docker", "kubepods", "containerd", "lxc", "libpod", "garden", "crio"];

/// Says what shows that this is a container; `None` when nothing does.
pub(super) fn evidence() -> Option<String> {
    let mark = MARKS.into_iter().find(|path| Path::new(path).exists()).map(|path| format!("{path} exists"));
    mark.or_else(|| std::env::var_os("container").map(|_| "the variable container is set".into()))
        .or_else(|| overlay_root(&read("/proc/self/mountinfo")).then(|| "the root is an overlay".into()))
        .or_else(|| cgroup_word(&read("/proc/self/cgroup")).map(|word| format!("the control group names {word}")))
}

fn read(path: &str) -> String {
    fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}

fn overlay_root(mountinfo: &str) -> bool {
    mountinfo.lines().any(|line| {
        let kind = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').next());
        line.split(' ').nth(4) == Some("/") && kind == Some("overlay")
    })
}

fn cgroup_word(cgroup: &str) -> Option<&'static str> {
    CGROUP_WORDS.into_iter().find(|word| cgroup.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_at_the_root_is_seen() {
        assert!(overlay_root("1 0 0:40 / / rw,relatime master:9 - overlay overlay rw,lowerdir=/x\n"));
        assert!(!overlay_root("1 0 0:40 / /x rw - overlay overlay rw\n27 1 254:0 / / rw - ext4 /dev/vda rw\n"));
    }

    #[test]
    fn words_in_the_control_group() {
        assert_eq!(cgroup_word("0::/kubepods.slice/x\n"), Some("kubepods"));
        assert_eq!(cgroup_word("0::/user.slice\n"), None);
    }
}
