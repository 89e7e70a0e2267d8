//! What is in an image layout.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::tree::{Node, Tree, What};

/// All of a layer's member but its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    kind: u8,
    mode: u32,
    owner: (u64, u64),
    target: String,
    bytes: Vec<u8>,
}

type Members = BTreeMap<String, Member>;

/// What is in layers that were read, by digest.
#[derive(Default)]
pub(crate) struct Layers(Mutex<HashMap<String, Arc<Members>>>);

/// An image without its times.
#[derive(Debug, PartialEq)]
pub(crate) struct Image {
    layers: Vec<Arc<Members>>,
    config: Value,
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("file")).expect("JSON")
}

fn hex(descriptor: &Value) -> &str {
    descriptor["digest"].as_str().expect("digest").trim_start_matches("sha256:")
}

impl Layers {
    fn members(&self, blob: &Path) -> Arc<Members> {
        let name = blob.display().to_string();
        let name = name[name.rfind('/').map_or(0, |at| at + 1)..].to_owned();
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(&name) {
            return Arc::clone(found);
        }
        let read = Arc::new(members(blob));
        known().insert(name, Arc::clone(&read));
        read
    }
}

impl Image {
    /// The only image of the layout, or all of the only index.
    pub(crate) fn read(layout: &Path, layers: &Layers) -> Vec<Self> {
        let blobs = layout.join("blobs/sha256");
        let blob = |descriptor: &Value| json(&blobs.join(hex(descriptor)));
        let top = blob(&json(&layout.join("index.json"))["manifests"][0]);
        match top["manifests"].as_array() {
            Some(several) => several.iter().map(|entry| Self::of(&blob(entry), &blobs, layers)).collect(),
            None => vec![Self::of(&top, &blobs, layers)],
        }
    }

    fn of(manifest: &Value, blobs: &Path, known: &Layers) -> Self {
        let mut config = json(&blobs.join(hex(&manifest["config"])));
        config["created"] = Value::Null;
        config["rootfs"] = Value::Null;
        for entry in config["history"].as_array_mut().expect("history") {
            entry["created"] = Value::Null;
        }
        let layers = manifest["layers"].as_array().expect("layers").iter();
        Self { layers: layers.map(|layer| known.members(&blobs.join(hex(layer)))).collect(), config }
    }

    /// The first difference, for people.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        if self.config != other.config {
            return Some(format!("configuration:\n{}\n{}", self.config, other.config));
        }
        if self.layers.len() != other.layers.len() {
            return Some(format!("{} layers, {} layers", self.layers.len(), other.layers.len()));
        }
        let mut pairs = self.layers.iter().zip(&other.layers).enumerate();
        pairs.find_map(|(number, (one, two))| {
            let paths = one.keys().chain(two.keys());
            let path = paths.into_iter().find(|path| one.get(*path) != two.get(*path))?;
            Some(format!("layer {number}, {path}: {:?}, {:?}", one.get(path), two.get(path)))
        })
    }

    /// The first file of the oracle's that is not so in the image, for people.
    pub(crate) fn contradiction(&self, tree: &Tree) -> Option<String> {
        let flat = self.flat();
        let wrong = |(path, node): (&String, &Node)| {
            let found = flat.get(path);
            let right = found.is_some_and(|found| is_so(node, found, &flat));
            (!right && !path.is_empty()).then(|| format!("{path}: expected {node:?}, found {found:?}"))
        };
        tree.iter().find_map(wrong)
    }

    fn flat(&self) -> BTreeMap<String, Member> {
        let mut flat: BTreeMap<String, Member> = BTreeMap::new();
        for (path, member) in self.layers.iter().flat_map(|layer| layer.iter()) {
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            let Some(gone) = name.strip_prefix(".wh.") else {
                flat.insert(path.clone(), member.clone());
                continue;
            };
            let gone = if directory.is_empty() { gone.to_owned() } else { format!("{directory}/{gone}") };
            flat.retain(|path, _| *path != gone && !path.starts_with(&format!("{gone}/")));
        }
        flat
    }
}

fn is_so(node: &Node, found: &Member, flat: &BTreeMap<String, Member>) -> bool {
    let kind = match &node.what {
        What::Directory => found.kind == b'5',
        What::Link(target) => return found.kind == b'2' && found.target == *target,
        What::File(text) => {
            let content = if found.kind == b'1' { flat.get(&found.target) } else { Some(found) };
            content.is_some_and(|found| found.kind == b'0' && found.bytes == text.as_bytes())
        }
        What::Same(_) | What::Gone | What::Archive(_) => true,
    };
    kind && found.mode == node.mode && found.owner == node.owner
}

fn members(blob: &Path) -> Members {
    let reader = flate2::read::MultiGzDecoder::new(fs::File::open(blob).expect("layer"));
    let mut archive = tar::Archive::new(reader);
    let mut members = BTreeMap::new();
    for entry in archive.entries().expect("tar") {
        let mut entry = entry.expect("member");
        let path = entry.path().expect("path").to_string_lossy().trim_end_matches('/').to_owned();
        let header = entry.header();
        let owner = (header.uid().expect("uid"), header.gid().expect("gid"));
        let (kind, mode) = (header.entry_type().as_byte(), header.mode().expect("mode") & 0o7777);
        let target = entry.link_name().expect("link").map(|link| link.to_string_lossy().into_owned());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("content");
        members.insert(path, Member { kind, mode, owner, target: target.unwrap_or_default(), bytes });
    }
    members
}
