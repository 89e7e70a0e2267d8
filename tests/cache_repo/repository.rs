use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;

use yadokari::cache::{BackgroundSaver, CacheError, LayerCache, Record, RecordLayer, TieredCache};
use yadokari::digest::{DiffId, Digest};
use yadokari::image::{Descriptor, Index, Manifest, Reference, media_type};
use yadokari::key::CacheKey;
use yadokari::registry::Purpose;
use yadokari::report::CacheTier;

use crate::{Place, Registry, client, client_with, found, key, layer_bytes, read};

#[test]
fn another_runner_finds_everything_in_the_repository() {
    let registry = Registry::start();
    let repository = registry.repository("team/app/cache");
    let (record, base) = save_as_first_runner(&repository);
    let second = Place::new();
    let remote = Arc::new(second.registry(&repository, None));
    let tiered = TieredCache::new(second.local(None), second.observer()).with_remote(remote, true);
    let hit = tiered.look_up(&[key("unknown"), record.key]).pop().flatten().expect("hit");
    assert_eq!((hit.tier, &hit.record), (CacheTier::Registry, &record));
    let layer = &record.layers[0];
    assert_eq!(tiered.fetch_toc(layer).expect("toc"), b"toc of shared");
    assert!(second.store.has(&layer.toc), "a table of contents is kept");
    let mut bytes = Vec::new();
    tiered.fetch_layer(layer).expect("layer").read_to_end(&mut bytes).expect("read");
    assert_eq!(bytes, layer_bytes("shared"));
    assert_eq!(tiered.layer_toc(&base).as_deref(), Some(&b"base contents"[..]));
    assert!(second.store.toc(&base).expect("read").is_some(), "kept as well");

    // Under a new definition key, with the layer never fetched: nothing for the local store,
    // and the repository has the blobs already.
    let renamed = Record { key: key("renamed"), content_key: Some(record.key), ..record.clone() };
    tiered.save(&renamed).expect("save");
    assert_eq!(second.store.record(&renamed.key).expect("read"), None);
    assert_eq!(tiered.finish(), 0);
    assert_eq!(second.listener.warnings(), Vec::<String>::new());
    let third = Place::new();
    assert_eq!(found(&third.registry(&repository, None), &renamed.key), Some(renamed));
}

fn save_as_first_runner(repository: &Reference) -> (Record, DiffId) {
    let first = Place::new();
    let remote = Arc::new(first.registry(repository, None));
    let tiered = TieredCache::new(first.local(None), first.observer()).with_remote(remote, true);
    let record = first.record("shared");
    tiered.save(&record).expect("save");
    let base = DiffId(Digest::sha256(b"a base layer"));
    let toc = first.store.put_blob(media_type::TOC, b"base contents").expect("blob");
    tiered.save_layer_toc(&base, &toc).expect("save");
    assert_eq!(tiered.look_up(&[record.key])[0].as_ref().map(|hit| hit.tier), Some(CacheTier::Local));
    assert_eq!(tiered.finish(), 0, "{:?}", first.listener.warnings());
    (record, base)
}

#[test]
fn a_record_is_an_ordinary_image_manifest() {
    let registry = Registry::start();
    let (place, repository) = (Place::new(), registry.repository("cache"));
    let record = place.record("plain");
    place.registry(&repository, None).save(&record).expect("save");
    let tag = repository.with_tag(&record.key.to_string());
    let fetched = client().fetch_manifest(&tag, Purpose::Push).expect("fetch").expect("there");
    let manifest: Manifest = serde_json::from_slice(&fetched.bytes).expect("manifest");
    assert_eq!(manifest.artifact_type.as_deref(), Some(media_type::RECORD));
    assert_eq!(manifest.layers, [record.layers[0].blob.clone(), record.layers[0].toc.clone()]);
    assert_eq!(manifest.annotations["dev.yadokari.record"].as_bytes(), record.to_bytes());
    let inspected = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{tag}"))
        .output()
        .expect("skopeo");
    assert_eq!(inspected.stdout, fetched.bytes, "{}", String::from_utf8_lossy(&inspected.stderr));
}

#[test]
fn whatever_else_is_under_a_key_is_a_miss_and_is_replaced() {
    let registry = Registry::start();
    let (place, repository) = (Place::new(), registry.repository("cache"));
    let cache = place.registry(&repository, None);
    let good = place.record("good");
    cache.save(&good).expect("save");
    let tag = |seed: &str| repository.with_tag(&key(seed).to_string());
    let fetched = client().fetch_manifest(&tag("good"), Purpose::Push).expect("fetch").expect("there");
    let manifest: Manifest = serde_json::from_slice(&fetched.bytes).expect("manifest");
    for (seed, bytes, media_type, reason) in hostile(&manifest, &fetched.descriptor) {
        client().push_manifest(&tag(seed), media_type, &bytes).expect(seed);
        assert_eq!(found(&cache, &key(seed)), None, "{seed}");
        assert!(place.listener.debugs().contains(reason), "{seed}: {}", place.listener.debugs());
        let record = place.record(seed);
        cache.save(&record).expect("save");
        assert_eq!(found(&cache, &record.key), Some(record), "{seed} is replaced");
    }
    assert_eq!(place.listener.warnings(), Vec::<String>::new());
}

fn hostile(good: &Manifest, descriptor: &Descriptor) -> Vec<(&'static str, Vec<u8>, &'static str, &'static str)> {
    let annotated = |seed: &str, json: String| {
        let json = json.replace(&key("good").to_string(), &key(seed).to_string());
        let annotations = BTreeMap::from([("dev.yadokari.record".to_owned(), json)]);
        Manifest { annotations, ..good.clone() }.to_bytes()
    };
    let json = good.annotations["dev.yadokari.record"].clone();
    let no_annotation = Manifest { annotations: BTreeMap::new(), ..good.clone() }.to_bytes();
    let foreign = Manifest { layers: good.layers[..1].to_vec(), ..good.clone() };
    let foreign = Manifest {
        annotations: BTreeMap::from([(
            "dev.yadokari.record".to_owned(),
            json.replace(&key("good").to_string(), &key("foreign blob").to_string()),
        )]),
        ..foreign
    };
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.into()),
        manifests: vec![descriptor.clone()],
        annotations: BTreeMap::new(),
    };
    vec![
        ("other key", good.to_bytes(), media_type::OCI_MANIFEST, "belongs to key"),
        ("nothing", no_annotation, media_type::OCI_MANIFEST, "no annotation"),
        ("not JSON", annotated("not JSON", "{".into()), media_type::OCI_MANIFEST, "malformed record"),
        (
            "future",
            annotated("future", json.replace("\"version\":1", "\"version\":2")),
            media_type::OCI_MANIFEST,
            "version 2",
        ),
        ("foreign blob", foreign.to_bytes(), media_type::OCI_MANIFEST, "which the manifest does not"),
        ("index", index.to_bytes(), media_type::OCI_INDEX, "image index"),
    ]
}

#[test]
fn a_blob_that_the_registry_lost_is_uploaded_again() {
    let registry = Registry::start();
    let (place, repository) = (Place::new(), registry.repository("cache"));
    let cache = place.registry(&repository, None);
    let record = place.record("lost");
    cache.save(&record).expect("save");
    let blob = &record.layers[0].blob;
    delete(&registry, &format!("/v2/cache/blobs/{}", blob.digest));
    assert_eq!(found(&cache, &record.key).as_ref(), Some(&record), "nobody knows yet");
    assert!(cache.open(blob).expect("open").is_none());
    assert_eq!(found(&cache, &record.key), None);
    cache.save(&record).expect("save");
    assert_eq!(found(&cache, &record.key).as_ref(), Some(&record));
    assert_eq!(read(&cache, blob), Some(layer_bytes("lost")));
    assert_eq!(place.listener.warnings(), Vec::<String>::new());
}

/// That the repository has the blobs of a record which was found there is taken for granted, until it says otherwise.
#[test]
fn a_blob_that_was_lost_after_its_record_was_found_is_uploaded_again() {
    let registry = Registry::start();
    let (place, repository) = (Place::new(), registry.repository("cache"));
    let record = place.record("lost");
    place.registry(&repository, None).save(&record).expect("save");
    let cache = place.registry(&repository, None);
    assert_eq!(found(&cache, &record.key).as_ref(), Some(&record));
    let blob = &record.layers[0].blob;
    delete(&registry, &format!("/v2/cache/blobs/{}", blob.digest));
    let renamed = Record { key: key("renamed"), ..record.clone() };
    cache.save(&renamed).expect("save");
    assert_eq!(read(&cache, blob), Some(layer_bytes("lost")));
    assert_eq!(found(&place.registry(&repository, None), &renamed.key), Some(renamed));
    assert_eq!(place.listener.warnings(), Vec::<String>::new());
}

#[test]
fn blobs_of_a_record_that_was_found_are_not_asked_for() {
    let registry = Registry::start();
    let (place, repository) = (Place::new(), registry.repository("cache"));
    let record = place.record("shared");
    place.registry(&repository, None).save(&record).expect("save");
    let cache = place.registry(&repository, None);
    let asked = || registry.log().matches("\"HEAD /v2/cache/blobs/").count();
    let before = asked();
    assert_eq!(found(&cache, &record.key).as_ref(), Some(&record));
    cache.save(&Record { key: key("renamed"), ..record }).expect("save");
    // The empty configuration.
    assert_eq!(asked() - before, 1, "{}", registry.log());
}

#[test]
fn an_empty_repository_is_found_out_and_believed_for_a_while() {
    let registry = Registry::start();
    let (place, repository) = (Place::new(), registry.repository("cache"));
    let cache = place.registry(&repository, None);
    let asked = |what: &str| registry.log().matches(&format!("\"GET /v2/cache/{what}")).count();
    assert_eq!(cache.look_up(&[key("a"), key("b")]), [None, None]);
    assert_eq!(asked("tags/list"), 0, "one look-up without a hit says nothing");
    assert_eq!(found(&cache, &key("c")), None);
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut looked = 3;
    while {
        let before = asked("manifests/");
        assert_eq!(found(&cache, &key(&format!("more {looked}"))), None);
        looked += 1;
        asked("manifests/") > before
    } {
        assert!(std::time::Instant::now() < patience, "it is asked for ever");
    }
    assert_eq!(asked("tags/list"), 1);
    // What this build saves is there all the same.
    let record = place.record("saved");
    cache.save(&record).expect("save");
    assert_eq!(found(&place.registry(&repository, None), &record.key), Some(record));
}

fn delete(registry: &Registry, path: &str) {
    let mut stream = TcpStream::connect(&registry.0.address).expect("connect");
    write!(stream, "DELETE {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", registry.0.address)
        .expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

#[test]
fn a_registry_that_is_down_costs_misses_and_one_line() {
    let registry = Registry::start();
    let repository = registry.repository("cache");
    drop(registry);
    let place = Place::new();
    let remote = Arc::new(place.registry(&repository, None));
    let keys: Vec<CacheKey> = (0..50).map(|n| key(&n.to_string())).collect();
    let tiered = TieredCache::new(place.local(None), place.observer()).with_remote(remote.clone(), true);
    assert!(tiered.look_up(&keys).iter().all(Option::is_none));
    assert!(tiered.look_up(&keys).iter().all(Option::is_none));
    let record = place.record("still built");
    tiered.save(&record).expect("the local store has it");
    assert_eq!(found(&tiered, &record.key).as_ref(), Some(&record));
    assert!(matches!(remote.save(&record), Err(CacheError::Off(_))));
    assert!(tiered.fetch_layer(&record.layers[0]).is_ok());
    let unknown = RecordLayer { blob: Descriptor::of("x", b"unknown"), ..record.layers[0].clone() };
    assert!(tiered.fetch_layer(&unknown).is_err());
    assert_eq!(tiered.finish(), 0);
    let warnings = place.listener.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("is off after 3 failures"), "{warnings:#?}");
}

#[test]
fn a_blob_is_uploaded_once_however_many_records_name_it() {
    let registry = Registry::start();
    let (place, repository) = (Place::new(), registry.repository("cache"));
    // docker-registry answers 500 to who reads a tag while somebody else writes it.
    let cache: Arc<dyn LayerCache> = Arc::new(place.registry_by(client_with(3), &repository, None));
    let saver = BackgroundSaver::new(Arc::clone(&cache), 6, place.observer());
    let shared = place.record("shared");
    let records: Vec<Record> = (0..12)
        .map(|n| Record { key: key(&n.to_string()), content_key: Some(key("same")), ..shared.clone() })
        .collect();
    records.iter().for_each(|record| saver.save(record));
    assert_eq!(saver.finish(), 0, "{:?}", place.listener.warnings());
    assert!(records.iter().all(|record| found(&*cache, &record.key).is_some()));
    // The layer, its table of contents, and the empty configuration.
    let log = registry.log();
    let uploads = log.lines().filter(|line| line.contains("\"POST /v2/cache/blobs/uploads/")).count();
    assert_eq!(uploads, 3, "{log}");
}
