//! Who a step runs as, from the texts of `/etc/passwd` and `/etc/group`. Pure.

/// Ids and home of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups, the user's own among them; those of the files only when a user without a group was asked for.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// The largest id that is looked up. Two numbers are not, and may have all 32 bits.
const MAX_ID: u32 = i32::MAX as u32;

/// Resolves `user[:group]`; empty is root.
///
/// A number that is not in the files is taken as it is, with group 0 and home `/`.
///
/// # Errors
/// A sentence for the user: an unknown name or a number out of range.
///
/// # Source
/// moby/sys/user, `GetExecUser`; BuildKit, `executor/oci`, `GetUser` and `ensureAdditionalGids`.
pub(super) fn resolve(spec: &str, passwd: &[u8], group: &[u8]) -> Result<User, String> {
    let (name, group_name) = spec.split_once(':').unwrap_or((spec, ""));
    if let (Some(uid), Some(gid)) = (plain_id(name), plain_id(group_name)) {
        let home = home_of(uid, passwd).unwrap_or_else(|| "/".into());
        return Ok(User { uid, gid, groups: vec![gid], home });
    }
    let name = if name.is_empty() { "0" } else { name };
    let id = number(name)?;
    let (mut user, login) = match (passwd_entry(name, id, passwd), id) {
        (Some(entry), _) => entry,
        (None, Some(uid)) => (User { uid, gid: 0, groups: Vec::new(), home: "/".into() }, None),
        (None, None) => return Err(format!("unable to find user {name}: no matching entries in passwd file")),
    };
    if !group_name.is_empty() {
        user.gid = group_id(group_name, group)?;
    } else if let Some(login) = login {
        user.groups = groups_of(&login, group);
    }
    if !user.groups.contains(&user.gid) {
        user.groups.insert(0, user.gid);
    }
    Ok(user)
}

/// The home directory of a uid, for `HOME`.
pub(super) fn home_of(uid: u32, passwd: &[u8]) -> Option<String> {
    lines(passwd).find(|fields| is_for(fields, "", Some(uid))).and_then(|fields| home(&fields))
}

fn home(fields: &[&str]) -> Option<String> {
    fields.get(5).filter(|home| !home.is_empty()).map(|home| (*home).to_owned())
}

/// Whether a line is for `name`; a number is never a name.
fn is_for(fields: &[&str], name: &str, id: Option<u32>) -> bool {
    match id {
        Some(id) => fields.get(2).and_then(|text| text.parse().ok()) == Some(id),
        None => fields.first() == Some(&name),
    }
}

/// The first entry with that name or uid, and its login name.
fn passwd_entry(name: &str, id: Option<u32>, passwd: &[u8]) -> Option<(User, Option<String>)> {
    let fields = lines(passwd).find(|fields| is_for(fields, name, id))?;
    let (uid, gid) = (field_id(&fields, 2), field_id(&fields, 3));
    let home = home(&fields).unwrap_or_else(|| "/".into());
    Some((User { uid, gid, groups: Vec::new(), home }, Some(fields[0].to_owned())))
}

/// Fields that are missing or no numbers are 0.
fn field_id(fields: &[&str], index: usize) -> u32 {
    fields.get(index).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn group_id(name: &str, group: &[u8]) -> Result<u32, String> {
    let id = number(name)?;
    let known = lines(group).find(|fields| is_for(fields, name, id)).map(|fields| field_id(&fields, 2));
    match (known, id) {
        (Some(gid), _) | (None, Some(gid)) => Ok(gid),
        (None, None) => Err(format!("unable to find group {name}: no matching entries in group file")),
    }
}

fn groups_of(login: &str, group: &[u8]) -> Vec<u32> {
    let member = |fields: &Vec<&str>| fields.get(3).is_some_and(|list| list.split(',').any(|one| one == login));
    lines(group).filter(member).filter_map(|fields| fields.get(2)?.parse().ok()).collect()
}

/// The non-empty lines of a file, split at colons; lines that are not text are skipped.
fn lines(text: &[u8]) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.split(|b| *b == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(|l| l.split(':').collect())
}

/// What needs no file: `root` or digits.
fn plain_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if text == "root" { Some(0) } else { text.parse().ok().filter(|_| digits) }
}

/// `None`: not a number.
fn number(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    let id = text.parse().ok().filter(|id| *id <= MAX_ID);
    id.map(Some).ok_or_else(|| format!("uids and gids must be in range 0-{MAX_ID}, not {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n# x\nbad\n7:x:8:9::/seven:\n";
    const GROUP: &[u8] = b"root:x:0:root\nadm:x:4:root,app\nvideo:x:44:app\nstaff:x:50:\n";

    fn ids(spec: &str) -> (u32, u32, Vec<u32>, String) {
        let user = resolve(spec, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.groups, user.home)
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(ids(""), (0, 0, vec![0, 4], "/root".into()));
        assert_eq!(ids("app"), (1000, 1001, vec![1001, 4, 44], "/home/app".into()));
        assert_eq!(ids("1000"), ids("app"));
        assert_eq!(ids("app:staff"), (1000, 50, vec![50], "/home/app".into()));
        assert_eq!(ids("app:77"), (1000, 77, vec![77], "/home/app".into()));
        assert_eq!(ids("4242"), (4242, 0, vec![0], "/".into()));
        assert_eq!(ids("4242:4243"), (4242, 4243, vec![4243], "/".into()));
        assert_eq!(ids("7"), (7, 0, vec![0], "/".into()), "a number is no name");
    }

    #[test]
    fn two_numbers_need_no_files() {
        assert_eq!(ids("4294967294:4000000000"), (4_294_967_294, 4_000_000_000, vec![4_000_000_000], "/".into()));
        assert_eq!(ids("root:44"), (0, 44, vec![44], "/root".into()));
        assert_eq!(resolve("root:root", b"", b"").unwrap().groups, [0]);
        assert!(resolve("root", b"", b"").is_err());
    }

    #[test]
    fn short_lines_have_zeros() {
        let user = |spec| resolve(spec, b"a:x:7\nb:x\nc:x:8:9\n", b"g:x\n").map(|user| (user.uid, user.gid));
        assert_eq!((user("a"), user("b"), user("c")), (Ok((7, 0)), Ok((0, 0)), Ok((8, 9))));
        assert_eq!((user("c:g"), user("7")), (Ok((8, 0)), Ok((7, 0))));
    }

    #[test]
    fn unknown_names_are_errors() {
        for bad in ["nobody", "app:wheel", "4294967295", "4294967295:adm", "0:99999999999"] {
            assert!(resolve(bad, PASSWD, GROUP).is_err(), "{bad}");
        }
        assert_eq!(resolve("", b"", b"").unwrap().uid, 0);
        assert!(resolve("x", b"\xff:x", b"").is_err());
    }

    #[test]
    fn home_by_uid() {
        assert_eq!(home_of(1000, PASSWD).as_deref(), Some("/home/app"));
        assert_eq!(home_of(5, PASSWD), None);
    }
}
