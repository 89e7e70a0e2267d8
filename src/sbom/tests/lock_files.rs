//! What npm, pnpm and yarn wrote for the same three dependencies.

use super::*;

/// Of a `package.json` that has `@types/ms`, `ms`, and `left-pad` under the name `left`.
const EXPECTED: [&str; 3] = ["pkg:npm/%40types/ms@0.7.34", "pkg:npm/left-pad@1.3.0", "pkg:npm/ms@2.1.3"];
const SHA512_OF_MS: &str = "e8597";

#[test]
fn lock_files_of_pnpm() {
    for text in [include_str!("pnpm-5.yaml"), include_str!("pnpm-6.yaml"), include_str!("pnpm-9.yaml")] {
        let found = read(&view(&[("app/pnpm-lock.yaml", text)]));
        assert_eq!(found.iter().map(|package| package.url.as_str()).collect::<Vec<_>>(), EXPECTED, "{text}");
        assert!(
            found[2].checksum.as_ref().is_some_and(|(kind, hex)| *kind == "SHA512" && hex.starts_with(SHA512_OF_MS))
        );
    }
    let peers = "lockfileVersion: '6.0'\npackages:\n  /@a/b@1.0.0(@c/d@2.0.0)(e@3.0.0):\n    dev: true\n  github.com/f/g/0123:\n    name: g\n    version: 1.2.3\n  file:h:\n    resolution: {directory: h}\n";
    assert_eq!(urls(&[("pnpm-lock.yaml", peers)]), ["pkg:npm/%40a/b@1.0.0", "pkg:npm/g@1.2.3"]);
    let old = "lockfileVersion: 5.4\npackages:\n  /@a/b_c/1.0.0_@d+e@2.0.0:\n    dev: true\n";
    assert_eq!(urls(&[("pnpm-lock.yaml", old)]), ["pkg:npm/%40a/b_c@1.0.0"]);
}

#[test]
fn lock_files_of_yarn() {
    let classic = read(&view(&[("yarn.lock", include_str!("yarn-classic.lock"))]));
    assert_eq!(classic.iter().map(|package| package.url.as_str()).collect::<Vec<_>>(), EXPECTED);
    assert!(classic[2].checksum.as_ref().is_some_and(|(_, hex)| hex.starts_with(SHA512_OF_MS)));
    assert_eq!(urls(&[("yarn.lock", include_str!("yarn-berry.lock"))]), EXPECTED);
    let several = "\"@a/b@^1.0.0\", \"@a/b@~1.2.0\":\n  version \"1.2.3\"\n  dependencies:\n    version \"9\"\n\nc@1:\n  version \"1.0.0\"\n";
    assert_eq!(urls(&[("yarn.lock", several)]), ["pkg:npm/%40a/b@1.2.3", "pkg:npm/c@1.0.0"]);
    let patched = "__metadata:\n  version: 8\n\n\"t@patch:t@npm%3A5.0.0#optional!builtin<compat/t>\":\n  version: 5.0.0\n  resolution: \"t@patch:t@npm%3A5.0.0#optional!builtin<compat/t>::version=5.0.0&hash=1\"\n";
    assert_eq!(urls(&[("yarn.lock", patched)]), ["pkg:npm/t@5.0.0"]);
}

#[test]
fn yaml_is_taken_apart() {
    let seen = |text: &str| {
        let mut seen = Vec::new();
        yaml::values(text, |keys, value| seen.push(format!("{}={value}", keys.join("/"))));
        seen
    };
    assert_eq!(
        seen("a: 1\nb:\n  c: [x, {d: y}]\n  e: &n {f: z}\n  g: *n\n? {k: v}\n: w\nh: 'q'\n"),
        ["a=1", "b/c=x", "b/c/d=y", "b/e/f=z", "k=v", "=w", "h=q"]
    );
    // Stopped where it nests too deeply, and where it is damaged.
    assert!(seen(&"[".repeat(1_000_000)).is_empty());
    assert!(seen(&"a: {".repeat(100_000)).is_empty());
    assert_eq!(seen("a: 1\nb: \"\n"), ["a=1"]);
}

#[test]
fn a_go_module_is_what_it_was_replaced_by() {
    let text = "module example.com/app // x\n\ngo 1.22\n\nrequire example.com/a v1.0.0\n\nrequire (\n\texample.com/b v1.1.0 // indirect\n\texample.com/c v1.2.0\n\texample.com/d v1.3.0\n)\n\nreplace example.com/b => example.com/fork v2.0.0\nreplace (\n\texample.com/c v1.2.0 => ../c\n)\nexclude example.com/e v1.0.0\n";
    assert_eq!(
        urls(&[("go.mod", text)]),
        ["pkg:golang/example.com/a@v1.0.0", "pkg:golang/example.com/d@v1.3.0", "pkg:golang/example.com/fork@v2.0.0"]
    );
}
