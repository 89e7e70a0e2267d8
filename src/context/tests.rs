//! On real directories, archives, a web server on loopback, and git repositories.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use super::stat_cache::StatCache;
use super::*;
use crate::digest::{ContentHash, Digest};
use crate::layer::Content;
use crate::pattern::Patterns;
use crate::view::{FileNode, Node, NodeKind, View};

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn context(files: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        write(&root.path().join(file), file);
    }
    root
}

/// Fetches over the ways of this machine.
fn found(spec: &ContextSpec) -> Result<FoundContext, ContextError> {
    let agent = ureq::Agent::config_builder().proxy(None).build().new_agent();
    let parent = tempfile::tempdir().unwrap();
    let git = Git::new([("PATH".into(), std::env::var_os("PATH").unwrap())]);
    let clouds = crate::registry::Clouds::from_lookup(|_| None);
    let fetching = Fetching { agent: &agent, git: &git, clouds: &clouds, parent: parent.path() };
    find(&spec.location()?, &spec.sub_path, fetching)
}

fn open(spec: &str, dockerfile: Option<&Path>) -> Result<ContextDirectory, ContextError> {
    found(&ContextSpec { text: spec.to_owned(), ..ContextSpec::default() })?.read(dockerfile, None)
}

fn paths(view: &View) -> Vec<String> {
    view.walk(b"").map(|(path, _)| String::from_utf8_lossy(&path).into_owned()).collect()
}

fn inode(view: &View, path: &str) -> Option<u64> {
    match &view.get(path.as_bytes()).unwrap().kind {
        NodeKind::File(file) => file.inode,
        other => panic!("{path} is {other:?}"),
    }
}

#[test]
fn a_directory_is_read_as_it_is_but_for_owners() {
    let root = context(&["a/b/file", "suid", "one", "a.b"]);
    let at = |path: &str| root.path().join(path);
    std::os::unix::fs::chown(at("suid"), Some(1000), Some(50)).unwrap();
    fs::set_permissions(at("suid"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(at("one"), at("a/two")).unwrap();
    symlink("/etc/passwd", at("link")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let old = fs::File::options().write(true).open(at("suid")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_234_567_890_999)).unwrap();

    let view = read_directory(root.path(), &Patterns::default(), &StatCache::none()).unwrap();
    assert_eq!(paths(&view), ["a", "a/b", "a/b/file", "a/two", "a.b", "link", "one", "pipe", "socket", "suid"]);
    let suid = view.get(b"suid").unwrap();
    let content = Content::Host(at("suid"));
    let file = NodeKind::File(FileNode { size: 4, hash: None, content, inode: None });
    let expected = Node { kind: file, mode: 0o4711, uid: 0, gid: 0, mtime: 1_234_567_890, xattrs: Default::default() };
    assert_eq!(suid, &expected);
    assert!(inode(&view, "one").is_some());
    assert_eq!(inode(&view, "one"), inode(&view, "a/two"));
    assert_eq!(inode(&view, "a.b"), None);
    assert_eq!(view.get(b"link").unwrap().kind, NodeKind::Symlink(b"/etc/passwd".to_vec()));
    assert_eq!(view.get(b"socket").unwrap().kind, NodeKind::Socket);
    assert_eq!(view.get(b"pipe").unwrap().kind, NodeKind::Fifo);
}

#[test]
fn a_link_to_a_file_outside_shares_no_number() {
    let root = context(&["in/one"]);
    fs::hard_link(root.path().join("in/one"), root.path().join("outside")).unwrap();
    let view = read_directory(&root.path().join("in"), &Patterns::default(), &StatCache::none()).unwrap();
    assert_eq!(inode(&view, "one"), None);
}

#[test]
fn many_directories_are_all_found() {
    let root = tempfile::tempdir().unwrap();
    for index in 0..400 {
        write(&root.path().join(format!("d{}/e{}/f{index}", index % 23, index % 7)), "x");
    }
    let view = read_directory(root.path(), &Patterns::default(), &StatCache::none()).unwrap();
    let files = view.walk(b"").filter(|(_, node)| matches!(node.kind, NodeKind::File(_)));
    assert_eq!(files.count(), 400);
    assert_eq!(view.children(b"").count(), 23);
}

#[test]
fn ignore_files() {
    let files = ["a.txt", "b.md", "d/a.txt", "d/b.md", "d/s/a.txt", "e/x", ".git/HEAD"];
    for (ignore, kept) in [
        ("*.md\nd/s\n.git\n  e/x  \n# c", "a.txt d d/a.txt d/b.md e"),
        ("*", ""),
        ("*\n!d/s", "d d/s d/s/a.txt"),
        ("d\n!d/s/a.txt\n.git\ne", "a.txt b.md d d/s d/s/a.txt"),
        ("**/*.md\n**/s\n.git", "a.txt d d/a.txt e e/x"),
        ("/a.txt\n./b.md\nd/s/\n/e/../.git\nd/*.md", "d d/a.txt e e/x"),
        ("foo\nx\n.git\nd", "a.txt b.md e e/x"),
    ] {
        let root = context(&files);
        write(&root.path().join(".dockerignore"), &format!("{ignore}\n.dockerignore\n"));
        let context = open(root.path().to_str().unwrap(), None).unwrap();
        assert_eq!(paths(context.view()).join(" "), kept, "{ignore}");
    }
}

#[test]
fn the_dockerfile_s_own_ignore_file_wins() {
    let root = context(&["a.txt", "b.md"]);
    write(&root.path().join(".dockerignore"), "*.txt");
    let elsewhere = tempfile::tempdir().unwrap();
    let dockerfile = elsewhere.path().join("Dockerfile");
    let spec = format!("dir://{}", root.path().display());
    assert_eq!(paths(open(&spec, Some(&dockerfile)).unwrap().view()), [".dockerignore", "b.md"]);
    write(&elsewhere.path().join("Dockerfile.dockerignore"), "*.md");
    assert_eq!(paths(open(&spec, Some(&dockerfile)).unwrap().view()), [".dockerignore", "a.txt"]);
    write(&elsewhere.path().join("Dockerfile.dockerignore"), "!");
    let error = open(&spec, Some(&dockerfile)).unwrap_err();
    assert!(error.to_string().contains("Dockerfile.dockerignore"), "{error}");
}

#[test]
fn what_is_no_context() {
    let root = context(&["file"]);
    let file = root.path().join("file");
    let message = |spec: &str| open(spec, None).unwrap_err().to_string();
    assert_eq!(message("/no/such/place"), "build context /no/such/place does not exist");
    let path = file.display().to_string();
    let expected = format!("build context {path} is not a directory; an archive is tar://{path}");
    assert_eq!(message(&path), expected);
    let error = message("ftp://key:secret@host/x");
    assert!(error.contains("\"ftp://\"") && error.contains("dir://") && !error.contains("secret"), "{error}");
}

#[test]
fn where_a_context_is() {
    let located = |text: &str, sub_path: &str| {
        let spec = ContextSpec { text: text.to_owned(), sub_path: sub_path.to_owned(), ..ContextSpec::default() };
        spec.location()
    };
    assert_eq!(located("dir://a", "/b").unwrap(), Location::Directory("a/b".into()));
    assert_eq!(located("/a", "").unwrap(), Location::Directory("/a".into()));
    assert_eq!(located("tar:///a.tar.gz", "").unwrap(), Location::Tar("/a.tar.gz".into()));
    assert_eq!(located("tar://stdin", "").unwrap(), Location::StandardInput);
    for web in
        ["https://h/a.tar.gz", "https://h/a.git/b", "http://127.0.0.1:1/a", "http://localhost/a", "http://[::1]/a"]
    {
        assert_eq!(located(web, "").unwrap(), Location::Web(web.into()));
    }
    for (text, remote, kept) in [
        ("git://h/r", "https://h/r", Some(true)),
        ("https://h/r.git#b", "https://h/r.git", None),
        ("ssh://git@h/r", "ssh://git@h/r", None),
        ("git@h:a/r", "git@h:a/r", None),
        ("github.com/a/r#b:c", "https://github.com/a/r", None),
    ] {
        let Location::Git(source) = located(text, "s").unwrap() else { panic!("{text}") };
        assert_eq!((source.remote.as_str(), source.keep_git_dir), (remote, kept), "{text}");
        assert!(source.subdirectory.ends_with(b"s"), "{text}");
    }
    assert!(matches!(located("http://h/a.tar", ""), Err(ContextError::PlainHttp)));
    assert!(matches!(located("http://127.0.0.1.h/a.tar", ""), Err(ContextError::PlainHttp)));
    assert!(matches!(located("ftp://h/a.tar", ""), Err(ContextError::Scheme { .. })));
    let named = |text: &str| ContextSpec { text: text.to_owned(), ..ContextSpec::default() }.named_location();
    for url in ["https://h/f", "http://h/f"] {
        assert_eq!(named(url).unwrap(), Location::WebFile(url.into()));
    }
    assert_eq!(named("tar:///a.tar").unwrap(), Location::Tar("/a.tar".into()));
    assert!(matches!(named("tar://stdin"), Err(ContextError::Scheme { .. })), "the context itself may come that way");
    assert!(matches!(named("git://h/r").unwrap(), Location::Git(source) if source.remote == "git://h/r"));
}

#[test]
fn hashes_are_taken_once_and_only_of_files() {
    let root = context(&["a", "d/b"]);
    let context = open(root.path().to_str().unwrap(), None).unwrap();
    let wanted: Vec<Vec<u8>> = ["a", "d", "d/b", "nope"].map(|path| path.as_bytes().to_vec()).into();
    let hashes = context.hash_files(&wanted).unwrap();
    assert_eq!(hashes.len(), 2);
    assert_eq!(hashes[&b"d/b"[..]], ContentHash::of(b"d/b"));
    fs::remove_file(root.path().join("a")).unwrap();
    assert_eq!(context.hash_files(&wanted).unwrap(), hashes, "not read again");
}

#[test]
fn files_that_change_are_noticed() {
    let root = context(&["grown", "piped"]);
    let view = read_directory(root.path(), &Patterns::default(), &StatCache::none()).unwrap();
    fs::write(root.path().join("grown"), "more than before").unwrap();
    let error = hash_files(&view, [b"grown".to_vec()], &StatCache::none()).unwrap_err();
    assert!(matches!(error, ContextError::Changed { .. }), "{error}");
    fs::remove_file(root.path().join("piped")).unwrap();
    symlink("/etc/passwd", root.path().join("piped")).unwrap();
    let error = hash_files(&view, [b"piped".to_vec()], &StatCache::none()).unwrap_err();
    assert!(error.to_string().contains("piped"), "{error}");
}

/// A tar with a root, a directory, a file, a hard link and what would be a whiteout.
fn tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: tar::EntryType, mode: u32, data: &str, link: &str| {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(99);
        header.set_size(data.len() as u64);
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    };
    add("./", tar::EntryType::Directory, 0o700, "", "");
    add("./s/", tar::EntryType::Directory, 0o2750, "", "");
    add("./s/f", tar::EntryType::Regular, 0o4755, "content", "");
    add("./h", tar::EntryType::Link, 0o644, "", "./s/f");
    add("./s/.wh.x", tar::EntryType::Regular, 0o644, "", "");
    add("./l", tar::EntryType::Symlink, 0o777, "", "/abs");
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The library that reads xz does not write it as we build it.
fn xz(bytes: &[u8]) -> Vec<u8> {
    let piped = || std::process::Stdio::piped();
    let mut child = Command::new("xz").arg("-c").stdin(piped()).stdout(piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn unpacked(bytes: &[u8]) -> Result<Option<(Archive, tempfile::TempDir)>, ArchiveError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("odd.name");
    fs::write(&file, bytes).unwrap();
    Ok(unpack(&file, directory.path())?.map(|archive| (archive, directory)))
}

#[test]
fn archives_are_known_by_content_whatever_compressed_them() {
    let tar = tar();
    let zstd = zstd::encode_all(tar.as_slice(), 1).unwrap();
    let forms = [tar.clone(), gzip(&tar), bzip2(&tar), xz(&tar), zstd];
    for bytes in forms {
        let (archive, _directory) = unpacked(&bytes).unwrap().unwrap();
        let names: Vec<_> = archive.members.iter().map(|member| String::from_utf8_lossy(&member.path)).collect();
        assert_eq!(names, ["s", "s/f", "h", "s/.wh.x", "l"]);
        assert_eq!(fs::read(&archive.tar).unwrap(), tar);
        assert_eq!(archive.diff_id.0, Digest::sha256(&tar));
        let MemberKind::Node(node) = &archive.members[1].kind else { panic!("no node") };
        assert_eq!((node.mode, node.uid, node.gid, node.mtime), (0o4755, 7, 8, 99));
        let NodeKind::File(file) = &node.kind else { panic!("no file") };
        let Content::Layer { offset, .. } = file.content else { panic!("not in the tar") };
        assert_eq!(&tar[offset as usize..][..file.size as usize], b"content");
        assert_eq!(file.hash, Some(ContentHash::of(b"content")));
        let MemberKind::Hardlink { target, metadata } = &archive.members[2].kind else { panic!("no hard link") };
        assert_eq!((target.as_slice(), metadata.mode), (&b"s/f"[..], 0o644));
    }
}

#[test]
fn what_is_no_archive_or_a_broken_one() {
    let tar = tar();
    let text = vec![b'x'; 2000];
    let files = [vec![], b"x".to_vec(), text.clone(), vec![0; 2048], gzip(&text), gzip(&tar)[..20].to_vec()];
    for bytes in files {
        assert!(unpacked(&bytes).unwrap().is_none(), "{} bytes", bytes.len());
    }
    let cut = &tar[..1600];
    assert!(unpacked(cut).is_err(), "it started well");
    let mut escaping = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..4].copy_from_slice(b"../x");
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    escaping.append(&header, &b""[..]).unwrap();
    assert!(unpacked(&escaping.into_inner().unwrap()).is_err());
}

/// Answers one request after the other with these bytes, and returns where.
fn serve(answers: Vec<Vec<u8>>) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(&answer).unwrap();
        }
    });
    (address, thread)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn fetched(answers: Vec<Vec<u8>>, expected: Option<&Digest>) -> Result<(Fetched, tempfile::TempDir), FetchError> {
    let (address, server) = serve(answers);
    let directory = tempfile::tempdir().unwrap();
    let agent = ureq::Agent::config_builder().proxy(None).build().new_agent();
    let url = address.replace("http://", "http://user:secret@") + "/f.txt?token=secret";
    let result = fetch(&agent, &url, None, expected, directory.path());
    server.join().unwrap();
    Ok((result?, directory))
}

#[test]
fn a_file_from_the_web() {
    let headers = "Last-Modified: Sun, 13 Sep 2020 12:26:40 GMT\r\nETag: \"tag\"\r\n";
    let moved = answer("302 Found", "Location: /elsewhere\r\n", b"");
    let (file, _directory) = fetched(vec![moved, answer("200 OK", headers, b"hello\n")], None).unwrap();
    assert_eq!(fs::read(&file.path).unwrap(), b"hello\n");
    assert_eq!((file.size, file.mtime, file.etag.as_deref()), (6, 1_600_000_000, Some("\"tag\"")));
    assert_eq!((file.digest.clone(), file.hash), (Digest::sha256(b"hello\n"), ContentHash::of(b"hello\n")));
    assert_eq!((file.node().mode, file.node().mtime), (0o600, 1_600_000_000));
    let coded = answer("200 OK", "Content-Encoding: gzip\r\n", &gzip(b"hello\n"));
    let (file, _directory) = fetched(vec![coded], None).unwrap();
    assert_eq!((file.digest, file.mtime, file.etag), (Digest::sha256(b"hello\n"), 0, None));
}

#[test]
fn a_redirect_elsewhere_gets_no_password() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = format!("http://{}/f", listener.local_addr().unwrap());
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.write_all(&answer("200 OK", "", b"hello\n")).unwrap();
        String::from_utf8(request).unwrap().to_lowercase()
    });
    let moved = answer("302 Found", &format!("Location: {elsewhere}\r\n"), b"");
    let (file, _directory) = fetched(vec![moved], None).unwrap();
    assert_eq!(fs::read(&file.path).unwrap(), b"hello\n");
    let request = other.join().unwrap();
    assert!(request.starts_with("get /f ") && !request.contains("authorization"), "{request}");
    // Over https nothing leads to plain http.
    let agent = crate::registry::web_agent(true);
    let directory = tempfile::tempdir().unwrap();
    assert!(fetch(&agent, &elsewhere, None, None, directory.path()).is_err());
}

#[test]
fn a_file_that_is_not_the_one() {
    let ok = || vec![answer("200 OK", "", b"hello\n")];
    assert!(fetched(ok(), Some(&Digest::sha256(b"hello\n"))).is_ok());
    let sha512 = Digest::from_sha512(&<sha2::Sha512 as sha2::Digest>::digest(b"hello\n").into());
    assert!(fetched(ok(), Some(&sha512)).is_ok());
    let error = fetched(ok(), Some(&Digest::sha256(b"other"))).unwrap_err().to_string();
    assert!(error.starts_with("digest mismatch for http://127.0.0.1:"), "{error}");
    assert!(error.contains(&format!(
        "/f.txt: {} (expected: {})",
        Digest::sha256(b"hello\n"),
        Digest::sha256(b"other")
    )));
    assert!(!error.contains("secret"));
    let error = fetched(vec![answer("404 Not Found", "", b"no")], None).unwrap_err().to_string();
    assert!(error.contains("404") && error.contains("127.0.0.1") && !error.contains("secret"), "{error}");
    let short = [answer("200 OK", "", b"hello\n"), Vec::new()].concat();
    let error = fetched(vec![short[..short.len() - 2].to_vec()], None).unwrap_err();
    assert!(matches!(error, FetchError::Read { .. }), "{error}");
}

#[test]
fn names_of_files_from_the_web() {
    for (url, name) in [
        ("https://h/", "__unnamed__"),
        ("https://h", "__unnamed__"),
        ("https://h/f?q=1", "f"),
        ("https://h/a/b%20c.txt#x", "b c.txt"),
        ("https://h/a/b/", "b"),
        ("https://h/a%2Fb", "b"),
        ("https://h/%2e%2e", "__unnamed__"),
        ("https://h/a%00b", "__unnamed__"),
        ("nonsense", "__unnamed__"),
    ] {
        assert_eq!(String::from_utf8(url_file_name(url)).unwrap(), name, "{url}");
    }
}
