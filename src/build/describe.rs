//! What is said about an image: how it was built, and what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::error::BuildError;
use super::evaluate::Workshop;
use super::export::{Attachments, Image, Product, Said};
use super::layers::layer_contents_of;
use super::request::ProvenanceOptions;
use super::state::StageState;
use super::variant::Variant;
use crate::attest::{Material, PROVENANCE, Provenance, SPDX};
use crate::dockerfile::lint::names_secret;
use crate::image::ImageConfig;
use crate::key::SourceInput;
use crate::plan::{Base, ImageRef, Mount, Op, Plan, Source};
use crate::sbom;

/// What SPDX takes as a time.
const TIME: &str = "%Y-%m-%dT%H:%M:%SZ";
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Everything that was asked for, for each image and for the index of several.
pub(super) fn attachments(
    shop: Workshop<'_>,
    variants: &[Variant],
    states: &[Arc<StageState>],
    product: &Product,
    started: jiff::Timestamp,
) -> Result<Attachments, BuildError> {
    let wanted = &shop.request.outputs.attestations;
    let mut images = Vec::new();
    for ((variant, state), image) in variants.iter().zip(states).zip(product.images()) {
        let mut said = Vec::new();
        if let Some(options) = &wanted.provenance {
            let variant = std::slice::from_ref(variant);
            said.push(Said { predicate_type: PROVENANCE, predicate: provenance(shop, options, variant, started)? });
        }
        if wanted.sbom {
            said.push(Said { predicate_type: SPDX, predicate: bill(shop, variant, state, image)? });
        }
        images.push(said);
    }
    let of_index = wanted.provenance.as_ref().filter(|_| product.is_index());
    let of_index = of_index.map(|options| provenance(shop, options, variants, started)).transpose()?;
    let index = of_index.map(|predicate| Said { predicate_type: PROVENANCE, predicate }).into_iter().collect();
    Ok(Attachments { index, images })
}

fn provenance(
    shop: Workshop<'_>,
    options: &ProvenanceOptions,
    variants: &[Variant],
    started: jiff::Timestamp,
) -> Result<Value, BuildError> {
    let mut materials = BTreeSet::new();
    for variant in variants {
        materials.extend(images(&variant.plan).into_iter().filter_map(|image| base_material(shop, image)));
        materials.extend(remote_materials(shop, &variant.plan)?);
    }
    if let (Some(uri), Some(commit)) = (&options.context, shop.services.context.commit()) {
        let (uri, value) = (uri.clone(), commit.to_owned());
        materials.insert(Material { uri, algorithm: "gitCommit".into(), value });
    }
    let provenance = Provenance {
        parameters: parameters(shop, options, variants),
        materials,
        builder: options.builder.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        invocation: options.invocation.clone(),
        started: started.strftime(TIME).to_string(),
        finished: jiff::Timestamp::now().strftime(TIME).to_string(),
    };
    let secrets: Vec<&[u8]> = shop.request.secrets.values().map(|secret| secret.0.as_slice()).collect();
    Ok(provenance.predicate(&secrets))
}

fn parameters(shop: Workshop<'_>, options: &ProvenanceOptions, variants: &[Variant]) -> BTreeMap<&'static str, Value> {
    let request = shop.request;
    let digest = crate::digest::Digest::sha256(&request.dockerfile.bytes);
    let platforms: Vec<String> = variants.iter().map(|variant| variant.platform.to_string()).collect();
    let shown = |(name, value): (&String, &String)| {
        let value = Some(value).filter(|value| options.with_values && may_be_shown(name, value));
        (name.clone(), json!(value))
    };
    let arguments: serde_json::Map<String, Value> = request.options.build_args.iter().map(shown).collect();
    let mut parameters = BTreeMap::from([
        ("dockerfile", json!({ "name": file_name(&request.dockerfile.name), "digest": { "sha256": digest.hex() } })),
        ("platforms", json!(platforms)),
        ("args", arguments.into()),
        ("labels", request.options.labels.iter().cloned().collect::<BTreeMap<_, _>>().into_iter().collect()),
        ("secrets", request.secrets.keys().cloned().collect()),
        ("ssh", request.ssh.keys().cloned().collect()),
        ("namedContexts", shop.services.contexts.keys().cloned().collect()),
        ("reproducible", request.reproducible.into()),
    ]);
    let named = [("target", request.options.target.clone()), ("context", options.context.clone())];
    parameters.extend(named.into_iter().filter_map(|(name, value)| Some((name, value?.into()))));
    parameters
}

/// Of a path of this machine the last part: the rest is nobody's business.
fn file_name(name: &str) -> &str {
    if name.starts_with('/') { name.rsplit('/').next().unwrap_or(name) } else { name }
}

/// Neither called like a secret, nor a proxy, nor an address with a user in it.
fn may_be_shown(name: &str, value: &str) -> bool {
    let has_user = value.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    !names_secret(name) && !name.to_lowercase().ends_with("_proxy") && !has_user
}

/// Those that the plan starts from or takes files from.
fn images(plan: &Plan) -> BTreeSet<&ImageRef> {
    let bases = plan.stages.iter().filter_map(|stage| match &stage.base {
        Base::Image(image) => Some(image),
        Base::Scratch | Base::Stage(_) => None,
    });
    let ops = plan.stages.iter().flat_map(|stage| &stage.steps).map(|step| &step.op);
    let sources = ops.flat_map(|op| match op {
        Op::Copy(op) => vec![&op.from],
        Op::Run(op) => op.mounts.iter().filter_map(mounted).collect(),
        Op::Workdir(_) => Vec::new(),
    });
    let copied = sources.filter_map(|source| if let Source::Image(image) = source { Some(image) } else { None });
    bases.chain(copied).collect()
}

fn mounted(mount: &Mount) -> Option<&Source> {
    match mount {
        Mount::Bind { from, .. } => Some(from),
        Mount::Cache { from, .. } => from.as_ref().map(|(from, _)| from),
        Mount::Tmpfs { .. } | Mount::Secret { .. } | Mount::Ssh { .. } => None,
    }
}

/// # Source
/// package-url, type `docker`, as BuildKit writes it.
fn base_material(shop: Workshop<'_>, image: &ImageRef) -> Option<Material> {
    let digest = shop.images.get(image)?.digest.as_ref()?;
    let name = image.reference.name();
    let name = name.strip_prefix("docker.io/").unwrap_or(&name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let version = image.reference.tag().map_or_else(|| digest.to_string(), str::to_owned).replace(':', "%3A");
    let platform = image.platform.to_string().replace('/', "%2F");
    let uri = format!("pkg:docker/{name}@{version}?platform={platform}");
    Some(Material { uri, algorithm: digest.algorithm().name().to_owned(), value: digest.hex().to_owned() })
}

fn remote_materials(shop: Workshop<'_>, plan: &Plan) -> Result<Vec<Material>, BuildError> {
    let mut materials = Vec::new();
    for step in plan.stages.iter().flat_map(|stage| &stage.steps) {
        let Op::Copy(op) = &step.op else { continue };
        for input in shop.remotes.inputs(op)? {
            let SourceInput::Remote { address, identity } = input else { continue };
            let (algorithm, value) = identity.split_once(':').unwrap_or(("gitCommit", &identity));
            materials.push(Material { uri: address, algorithm: algorithm.to_owned(), value: value.to_owned() });
        }
    }
    Ok(materials)
}

/// Reads no more of a layer than up to the last file that tells of packages, and unpacks nothing.
fn bill(shop: Workshop<'_>, variant: &Variant, state: &StageState, image: &Image) -> Result<Value, BuildError> {
    let materials = shop.materials;
    let mut state = state.clone();
    materials.learn(&mut state, false)?;
    let wanted = sbom::wanted(&state.contents().view);
    materials.spool(&layer_contents_of(wanted.iter().map(|file| (&file.content, file.size))))?;
    let mut inventory = sbom::Inventory::default();
    for file in &wanted {
        let read = materials.open_anywhere(&file.content).and_then(|reader| inventory.read(file, reader));
        read.map_err(BuildError::file("read", String::from_utf8_lossy(&file.path).into_owned()))?;
    }
    let described = sbom::Described {
        digest: &image.digest(),
        platform: variant.platform.to_string(),
        created: created(&image.config_bytes),
        tool: format!("yadokari-{}", env!("CARGO_PKG_VERSION")),
    };
    Ok(sbom::document(&described, &inventory.packages()))
}

/// When the image was made, in whole seconds: the same for the same image.
fn created(config: &[u8]) -> String {
    let config: Option<ImageConfig> = serde_json::from_slice(config).ok();
    let time = config.and_then(|config| config.created?.parse::<jiff::Timestamp>().ok());
    time.map_or_else(|| EPOCH.to_owned(), |time| time.strftime(TIME).to_string())
}
