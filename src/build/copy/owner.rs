//! `--chown` and USER: names become numbers through the destination's own account files.

use super::CopyError;
use crate::view::View;

/// Who owns what is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u64,
    pub(super) gid: u64,
}

impl Owner {
    pub(super) const ROOT: Self = Self { uid: 0, gid: 0 };

    /// Reads `user[:group]`. Unknown names are silently root; an unknown group leaves the user's.
    /// A number alone is the group as well.
    ///
    /// # Errors
    /// [`CopyError::NoAccounts`] for a name when there is no file system to look it up in.
    pub(super) fn parse(text: &str, accounts: Option<&View>) -> Result<Self, CopyError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let mut owner = match number(user) {
            Some(id) => Self { uid: id, gid: id },
            None => account(accounts, b"etc/passwd", user)?.map_or(Self::ROOT, |fields| passwd_owner(&fields)),
        };
        if let Some(group) = group {
            let known = match number(group) {
                Some(id) => Some(id),
                None => account(accounts, b"etc/group", group)?.map(|fields| field_number(&fields, 2)),
            };
            owner.gid = known.unwrap_or(owner.gid);
        }
        Ok(owner)
    }
}

/// A number as the kernel takes it: `root` and nothing are 0. What has more than 31 bits is a name to BuildKit.
fn number(text: &str) -> Option<u64> {
    match text {
        "" | "root" => Some(0),
        _ => text.parse::<i32>().ok().map(|number| to_id(number.into())),
    }
}

/// Ids have 32 bits; what does not fit wraps.
fn to_id(number: i64) -> u64 {
    (number & i64::from(u32::MAX)).unsigned_abs()
}

/// The first line of the account file that starts with `name`.
fn account(accounts: Option<&View>, path: &[u8], name: &str) -> Result<Option<Vec<String>>, CopyError> {
    let view = accounts.ok_or_else(|| CopyError::NoAccounts { name: name.to_owned() })?;
    let Some(bytes) = view.inline(path) else { return Ok(None) };
    let text = String::from_utf8_lossy(bytes);
    let fields = text.lines().map(|line| line.trim().split(':')).find(|fields| fields.clone().next() == Some(name));
    Ok(fields.map(|fields| fields.map(str::to_owned).collect()))
}

fn passwd_owner(fields: &[String]) -> Owner {
    Owner { uid: field_number(fields, 2), gid: field_number(fields, 3) }
}

fn field_number(fields: &[String], index: usize) -> u64 {
    fields.get(index).and_then(|field| field.trim().parse().ok()).map_or(0, to_id)
}
