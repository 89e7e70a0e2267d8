//! The keys of `--mount`.

use crate::dockerfile::suggestion;
use crate::plan::{PlanFault, Sharing};

use super::{MountError, fields, size};

/// Keys that a mistyped one is compared with.
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "ro",
    "rw",
    "readwrite",
    "size",
    "destination",
    "env",
];

/// `type=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum MountType {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl MountType {
    const ALL: [Self; 5] = [Self::Bind, Self::Cache, Self::Tmpfs, Self::Secret, Self::Ssh];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }

    fn parse(value: &str) -> Result<Self, MountError> {
        let lower = value.to_lowercase();
        Self::ALL.into_iter().find(|kind| kind.name() == lower).ok_or_else(|| {
            let suggestion = suggestion::nearest(value, Self::ALL.map(Self::name)).map(str::to_owned);
            MountError::Type { value: value.to_owned(), suggestion }
        })
    }
}

/// What one `--mount` says, with values expanded; empty texts are keys that were not given.
#[derive(Debug, Default)]
pub(super) struct MountRequest {
    pub(super) kind: MountType,
    pub(super) from: String,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) id: String,
    pub(super) readonly: Option<bool>,
    pub(super) required: bool,
    pub(super) sharing: Option<Sharing>,
    pub(super) size_bytes: Option<u64>,
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) env: Option<String>,
}

impl MountRequest {
    /// Reads the keys from left to right and checks that they fit together.
    pub(super) fn parse(text: &str, expand: impl Fn(&str) -> Result<String, PlanFault>) -> Result<Self, PlanFault> {
        let mut request = Self::default();
        for field in fields::split(text)? {
            match field.split_once('=') {
                None => request.set_bare(&field)?,
                Some((key, value)) => {
                    let key = key.to_lowercase();
                    // The dependencies were made from the name as written.
                    let value = if key == "from" { value.to_owned() } else { expand(value)? };
                    request.set(&key, value, &field)?;
                }
            }
        }
        request.check()?;
        Ok(request)
    }

    fn set_bare(&mut self, field: &str) -> Result<(), MountError> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" => self.readonly = Some(true),
            "readwrite" | "rw" => self.readonly = Some(false),
            "required" => self.set_required("true")?,
            _ => return Err(MountError::Bare(field.to_owned())),
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: String, field: &str) -> Result<(), MountError> {
        match key {
            "type" => self.kind = MountType::parse(&value)?,
            "from" => self.from = value,
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "id" => self.id = value,
            "env" => self.env = Some(value),
            "readonly" | "ro" => self.readonly = Some(boolean(key, &value)?),
            "readwrite" | "rw" => self.readonly = Some(!boolean(key, &value)?),
            "required" => self.set_required(&value)?,
            "size" => self.set_size(&value)?,
            "sharing" => self.sharing = Some(sharing(&value)?),
            "mode" => self.mode = Some(number("mode", &value, 8)?),
            "uid" => self.uid = Some(number("uid", &value, 10)?),
            "gid" => self.gid = Some(number("gid", &value, 10)?),
            _ => {
                let suggestion = suggestion::nearest(key, KEYS).map(str::to_owned);
                return Err(MountError::Key { key: key.to_owned(), field: field.to_owned(), suggestion });
            }
        }
        Ok(())
    }

    fn set_required(&mut self, value: &str) -> Result<(), MountError> {
        if !matches!(self.kind, MountType::Secret | MountType::Ssh) {
            return Err(self.misplaced("required"));
        }
        self.required = boolean("required", value)?;
        Ok(())
    }

    fn set_size(&mut self, value: &str) -> Result<(), MountError> {
        if self.kind != MountType::Tmpfs {
            return Err(self.misplaced("size"));
        }
        let bytes = size::parse(value).ok_or_else(|| MountError::value("size", value))?;
        self.size_bytes = (bytes > 0).then_some(bytes);
        Ok(())
    }

    fn misplaced(&self, key: &'static str) -> MountError {
        MountError::KeyForType { key, kind: self.kind.name() }
    }

    fn check(&self) -> Result<(), MountError> {
        let kind = self.kind.name();
        if matches!(self.kind, MountType::Bind | MountType::Tmpfs) {
            let given = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
            if let Some((key, _)) = given.into_iter().find(|(_, value)| value.is_some()) {
                return Err(MountError::NotAllowed { key, kind });
            }
        }
        if self.kind == MountType::Secret {
            self.check_secret()?;
        }
        if self.sharing.is_some() && self.kind != MountType::Cache {
            return Err(MountError::SharingForType(kind));
        }
        Ok(())
    }

    fn check_secret(&self) -> Result<(), MountError> {
        if !self.from.is_empty() {
            return Err(MountError::SecretFrom);
        }
        if self.sharing.is_some() {
            return Err(MountError::SecretSharing);
        }
        match (self.source.is_empty(), self.id.is_empty()) {
            (true, true) if self.target.is_empty() => Err(MountError::SecretNameless),
            (false, false) => Err(MountError::SourceAndId),
            _ => Ok(()),
        }
    }
}

/// The image or stage that `text` mounts from, when it names one.
///
/// # Errors
/// Bad CSV, and a variable in the name.
pub(super) fn from(text: &str) -> Result<Option<String>, MountError> {
    let mut from = None;
    for field in fields::split(text)? {
        if let Some((key, value)) = field.split_once('=')
            && key.eq_ignore_ascii_case("from")
        {
            if value.find('$').is_some_and(|at| at + 1 < value.len()) {
                return Err(MountError::FromVariable);
            }
            from = Some(value.to_owned()).filter(|value| !value.is_empty());
        }
    }
    Ok(from)
}

/// The spellings of Go's `strconv.ParseBool`.
fn boolean(key: &str, value: &str) -> Result<bool, MountError> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(MountError::value(key, value)),
    }
}

fn number(key: &'static str, value: &str, radix: u32) -> Result<u32, MountError> {
    let digits = value.chars().all(|c| c.is_digit(radix));
    let parsed = if digits { u32::from_str_radix(value, radix).ok() } else { None };
    parsed.ok_or_else(|| MountError::Number { key, value: value.to_owned() })
}

fn sharing(value: &str) -> Result<Sharing, MountError> {
    match value.to_lowercase().as_str() {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        _ => {
            let suggestion = suggestion::nearest(value, ["shared", "private", "locked"]).map(str::to_owned);
            Err(MountError::Sharing { value: value.to_owned(), suggestion })
        }
    }
}
