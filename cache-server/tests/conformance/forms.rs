//! Every way in which a blob comes here, under each digest algorithm, and out again.

use yadokari::digest::Digest;

use crate::registry::{Registry, Reply, noise, sha512, with_digest};

const CHUNK: usize = 1024;
/// Three chunks, the last of them a little shorter.
const SIZE: usize = 3 * CHUNK - 5;
const REPOSITORY: &str = "team/forms";
const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

/// A way to push content as `digest`; its last answer.
type Form = fn(&Registry, &Digest, &[u8]) -> Reply;

const FORMS: [(&str, Form); 8] = [
    ("post", post),
    ("post without length", post_without_length),
    ("put", put),
    ("put without length", put_without_length),
    ("stream", stream),
    ("chunks", |registry, digest, content| chunks(registry, digest, content, Last::InPatch)),
    ("chunks, the last one in the put", |registry, digest, content| chunks(registry, digest, content, Last::InPut)),
    ("single bytes", single_bytes),
];

#[derive(Clone, Copy, PartialEq)]
enum Last {
    InPatch,
    InPut,
}

fn both(content: &[u8]) -> [Digest; 2] {
    [Digest::sha256(content), sha512(content)]
}

fn uploads(digest: &Digest) -> String {
    format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}")
}

fn post(registry: &Registry, digest: &Digest, content: &[u8]) -> Reply {
    registry.send("POST", &uploads(digest), &[OCTETS], content)
}

fn post_without_length(registry: &Registry, digest: &Digest, content: &[u8]) -> Reply {
    registry.send_unmeasured("POST", &uploads(digest), &[OCTETS], content)
}

fn put(registry: &Registry, digest: &Digest, content: &[u8]) -> Reply {
    registry.send("PUT", &with_digest(&registry.open_session(REPOSITORY), digest), &[OCTETS], content)
}

fn put_without_length(registry: &Registry, digest: &Digest, content: &[u8]) -> Reply {
    registry.send_unmeasured("PUT", &with_digest(&registry.open_session(REPOSITORY), digest), &[OCTETS], content)
}

fn stream(registry: &Registry, digest: &Digest, content: &[u8]) -> Reply {
    let reply = registry.send_unmeasured("PATCH", &registry.open_session(REPOSITORY), &[OCTETS], content);
    assert_eq!(reply.status, 202, "{reply:?}");
    registry.send("PUT", &with_digest(&reply.location(), digest), &[OCTETS], b"")
}

fn chunk(registry: &Registry, method: &str, location: &str, content: &[u8], range: (usize, usize)) -> Reply {
    let (first, last) = range;
    let header = format!("{first}-{last}");
    registry.send(method, location, &[OCTETS, ("Content-Range", &header)], &content[first..=last])
}

/// `first-last` of the chunks of `content`.
fn ranges(content: &[u8], size: usize) -> Vec<(usize, usize)> {
    (0..content.len()).step_by(size).map(|first| (first, (first + size).min(content.len()) - 1)).collect()
}

fn chunks(registry: &Registry, digest: &Digest, content: &[u8], last: Last) -> Reply {
    let mut location = registry.open_session(REPOSITORY);
    let mut ranges = ranges(content, CHUNK);
    let final_range = if last == Last::InPut { ranges.pop() } else { None };
    for range in ranges {
        let reply = chunk(registry, "PATCH", &location, content, range);
        assert_eq!((reply.status, reply.header("range")), (202, Some(format!("0-{}", range.1).as_str())));
        location = reply.location();
    }
    let target = with_digest(&location, digest);
    match final_range {
        Some(range) => chunk(registry, "PUT", &target, content, range),
        None => registry.send("PUT", &target, &[OCTETS], b""),
    }
}

/// There is no least length of a chunk.
fn single_bytes(registry: &Registry, digest: &Digest, content: &[u8]) -> Reply {
    let opened = registry.post(&format!("/v2/{REPOSITORY}/blobs/uploads/"));
    assert_eq!((opened.status, opened.header("oci-chunk-min-length")), (202, None));
    let mut location = opened.location();
    let few = content.len().min(3);
    for range in ranges(&content[..few], 1) {
        location = chunk(registry, "PATCH", &location, content, range).location();
    }
    registry.send("PUT", &with_digest(&location, digest), &[OCTETS], &content[few..])
}

/// What was stored by `reply` can be had until it is removed.
#[track_caller]
fn comes_and_goes(registry: &Registry, name: &str, reply: &Reply, digest: &Digest, content: &[u8]) {
    assert_eq!(reply.status, 201, "{name}: {reply:?}");
    assert_eq!(reply.header("docker-content-digest"), Some(digest.to_string().as_str()), "{name}");
    let target = format!("/v2/{REPOSITORY}/blobs/{digest}");
    for place in [&reply.location(), &target] {
        let (head, get) = (registry.head(place), registry.get(place));
        assert!(get.body == content, "{name} {digest}");
        for reply in [&head, &get] {
            assert_eq!(reply.status, 200, "{name} {digest}");
            assert_eq!(reply.header("content-length"), Some(content.len().to_string().as_str()), "{name}");
            assert_eq!(reply.header("docker-content-digest"), Some(digest.to_string().as_str()), "{name}");
        }
    }
    assert_eq!(registry.delete(&target).status, 202, "{name} {digest}");
    assert_eq!(registry.head(&target).status, 404, "{name} {digest}");
    registry.get(&target).is_error(404, "BLOB_UNKNOWN");
}

#[test]
fn every_form_stores_what_it_is_given() {
    let registry = Registry::start();
    for content in [&noise(SIZE)[..], b"{}", b""] {
        for (name, form) in FORMS {
            // An empty chunk has no range, so there is none to put last.
            if content.is_empty() && name.contains("the last one") {
                continue;
            }
            for digest in both(content) {
                comes_and_goes(&registry, name, &form(&registry, &digest, content), &digest, content);
            }
        }
    }
}

#[test]
fn every_form_refuses_content_of_another_digest() {
    let registry = Registry::start();
    let content = noise(SIZE);
    let wrong = [&content[..], b"oh no"].concat();
    for (name, form) in FORMS {
        for digest in both(&content) {
            let reply = form(&registry, &digest, &wrong);
            reply.is_error(400, "DIGEST_INVALID");
            assert_eq!(registry.head(&format!("/v2/{REPOSITORY}/blobs/{digest}")).status, 404, "{name} {digest}");
        }
    }
}

/// Sends the chunk after the next one, or the first one again, before each chunk.
fn out_of_order(registry: &Registry, digest: &Digest, content: &[u8], last: Last) -> Reply {
    let ranges = ranges(content, CHUNK);
    let mut location = registry.open_session(REPOSITORY);
    for (position, range) in ranges.iter().enumerate() {
        let early = ranges.get(position + 1).unwrap_or(&ranges[0]);
        let closes = |range: &(usize, usize)| last == Last::InPut && range.1 == content.len() - 1;
        let request = |range: &(usize, usize), location: &str| match closes(range) {
            true => chunk(registry, "PUT", &with_digest(location, digest), content, *range),
            false => chunk(registry, "PATCH", location, content, *range),
        };
        request(early, &location).is_error(416, "RANGE_INVALID");
        let status = registry.get(&location);
        let end = (position * CHUNK).saturating_sub(1);
        assert_eq!((status.status, status.header("range")), (204, Some(format!("0-{end}").as_str())));
        assert_eq!(status.header("content-length"), None, "204 has no body");
        let reply = request(range, &status.location());
        if closes(range) {
            return reply;
        }
        assert_eq!(reply.status, 202, "{reply:?}");
        location = reply.location();
    }
    registry.send("PUT", &with_digest(&location, digest), &[OCTETS], b"")
}

#[test]
fn chunks_out_of_order_are_refused_and_the_rest_goes_on() {
    let registry = Registry::start();
    let content = noise(SIZE);
    for last in [Last::InPatch, Last::InPut] {
        for digest in both(&content) {
            let reply = out_of_order(&registry, &digest, &content, last);
            comes_and_goes(&registry, "out of order", &reply, &digest, &content);
        }
    }
}

#[test]
fn mounted_blobs_are_like_pushed_ones() {
    let registry = Registry::start();
    let content = noise(512);
    for digest in both(&content) {
        let push = format!("/v2/source/blobs/uploads/?digest={digest}");
        assert_eq!(registry.send("POST", &push, &[OCTETS], &content).status, 201);
        for from in ["&from=source", ""] {
            let reply = registry.post(&format!("/v2/{REPOSITORY}/blobs/uploads/?mount={digest}{from}"));
            comes_and_goes(&registry, "mount", &reply, &digest, &content);
        }
        assert_eq!(registry.delete(&format!("/v2/source/blobs/{digest}")).status, 202);
        // The answer to a mount of nothing is a session that takes the content.
        let session = registry.post(&format!("/v2/{REPOSITORY}/blobs/uploads/?mount={digest}&from=source"));
        assert_eq!(session.status, 202);
        let reply = registry.send("PUT", &with_digest(&session.location(), &digest), &[OCTETS], &content);
        comes_and_goes(&registry, "mount of nothing", &reply, &digest, &content);
    }
}
