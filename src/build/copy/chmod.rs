//! `--chmod`: octal numbers, and the symbolic language of BSD's chmod.

use crate::plan::Chmod;

const SET_IDS: u32 = 0o6000;
const STICKY: u32 = 0o1000;
/// All that `a` means: everything but the sticky bit.
const STANDARD: u32 = 0o6777;
const OTHERS: u32 = 0o007;
const EXECUTE: u32 = 0o111;

/// Why a `--chmod` is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
pub struct ChmodError(pub String);

/// What `--chmod` does to the modes of what is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModeChange {
    /// The flag was not given.
    Keep,
    /// Exactly these bits, whatever the source has.
    Exactly(u32),
    /// In order.
    Relative(Vec<Command>),
}

/// One step of a symbolic mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Clear(u32),
    Set(u32),
    /// Only for directories and what was executable by somebody before the change.
    SetIfExecutable(u32),
    /// Copies the three bits at `from` (a shift) to the classes in `to`.
    Copy {
        from: u32,
        to: u32,
        operator: Operator,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Remove,
    Assign,
}

impl ModeChange {
    pub(super) fn new(chmod: Option<&Chmod>) -> Result<Self, ChmodError> {
        match chmod {
            None => Ok(Self::Keep),
            Some(Chmod::Octal(mode)) if *mode <= 0o7777 => Ok(Self::Exactly(*mode)),
            Some(Chmod::Octal(mode)) => Err(ChmodError(format!("{mode:o}"))),
            Some(Chmod::Symbolic(text)) => parse(text).map(Self::Relative).ok_or_else(|| ChmodError(text.clone())),
        }
    }

    /// The mode that something with `mode` is copied with.
    pub(super) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Keep => mode,
            Self::Exactly(exact) => *exact,
            Self::Relative(commands) => {
                let executable = is_directory || mode & EXECUTE != 0;
                commands.iter().fold(mode, |mode, command| command.apply(mode, executable))
            }
        }
    }

    /// The mode of directories that no source describes.
    pub(super) fn of_new_directories(&self) -> u32 {
        match self {
            Self::Exactly(exact) => exact & 0o777,
            Self::Keep | Self::Relative(_) => 0o755,
        }
    }
}

impl Command {
    fn apply(self, mode: u32, executable: bool) -> u32 {
        match self {
            Self::Clear(bits) => mode & !bits,
            Self::Set(bits) => mode | bits,
            Self::SetIfExecutable(bits) => mode | if executable { bits } else { 0 },
            Self::Copy { from, to, operator } => {
                let bits = (((mode >> from) & 0o7) * EXECUTE) & to;
                match operator {
                    Operator::Add => mode | bits,
                    Operator::Remove => mode & !bits,
                    Operator::Assign => (mode & !(to & 0o777)) | bits,
                }
            }
        }
    }
}

/// Clauses separated by commas: classes, then operators with permissions.
///
/// # Source
/// FreeBSD chmod(1), "MODES", with an umask of zero.
fn parse(text: &str) -> Option<Vec<Command>> {
    let mut commands = Vec::new();
    for clause in text.split(',') {
        let actions = clause.trim_start_matches(['a', 'u', 'g', 'o']);
        let classes = &clause[..clause.len() - actions.len()];
        parse_actions(actions, classes.bytes().fold(0, |who, class| who | class_bits(class)), &mut commands)?;
    }
    Some(commands)
}

fn class_bits(class: u8) -> u32 {
    match class {
        b'u' => 0o4700,
        b'g' => 0o2070,
        b'o' => OTHERS,
        _ => STANDARD,
    }
}

fn parse_actions(mut actions: &str, who: u32, commands: &mut Vec<Command>) -> Option<()> {
    loop {
        let operator = match actions.as_bytes().first()? {
            b'+' => Operator::Add,
            b'-' => Operator::Remove,
            b'=' => Operator::Assign,
            _ => return None,
        };
        let rest = &actions[1..];
        let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
        parse_permissions(&rest[..end], operator, who, commands)?;
        actions = &rest[end..];
        if actions.is_empty() {
            return Some(());
        }
    }
}

/// The permissions after one operator. Without classes (`who` is zero) every bit may change.
fn parse_permissions(letters: &str, operator: Operator, who: u32, commands: &mut Vec<Command>) -> Option<()> {
    let (mut bits, mut execute, mut copies) = (0, 0, Vec::new());
    // Neither set-id nor sticky is anything that "others" could have.
    let special = who & !OTHERS != 0 || who == 0;
    for letter in letters.bytes() {
        match letter {
            b'r' => bits |= 0o444,
            b'w' => bits |= 0o222,
            b'x' => bits |= EXECUTE,
            b'X' if operator != Operator::Remove => execute = EXECUTE,
            b'X' => {}
            b's' => bits |= if special { SET_IDS } else { 0 },
            b't' => bits |= if special { STICKY } else { 0 },
            b'u' => copies.push(6),
            b'g' => copies.push(3),
            b'o' => copies.push(0),
            _ => return None,
        }
    }
    let scope = if who == 0 { u32::MAX } else { who | (bits & STICKY) };
    // `g=u` may read the very bits that it replaces, so that copying does its own clearing.
    if operator == Operator::Assign && (copies.is_empty() || bits != 0) {
        commands.push(Command::Clear(if who == 0 { STANDARD } else { scope }));
    }
    commands.push(if operator == Operator::Remove { Command::Clear(bits & scope) } else { Command::Set(bits & scope) });
    commands.push(Command::SetIfExecutable(execute & scope));
    let to = if who == 0 { 0o777 } else { who & 0o777 };
    commands.extend(copies.into_iter().map(|from| Command::Copy { from, to, operator }));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str, mode: u32, is_directory: bool) -> u32 {
        let change = ModeChange::new(Some(&Chmod::Symbolic(text.into()))).unwrap();
        change.apply(mode, is_directory)
    }

    #[test]
    fn symbolic_modes() {
        for (text, from, expected) in [
            ("u+x", 0o644, 0o744),
            ("+x", 0o644, 0o755),
            ("a+x", 0o644, 0o755),
            ("go-r", 0o644, 0o600),
            ("u=rw,g=r,o=", 0o777, 0o640),
            ("u=rwx,go=r", 0o600, 0o744),
            ("=rw,+X", 0o755, 0o777),
            ("=rw", 0o755, 0o666),
            ("u+s", 0o755, 0o4755),
            ("g+s", 0o755, 0o2755),
            ("+s", 0o755, 0o6755),
            ("o+s", 0o755, 0o755),
            ("+t", 0o755, 0o1755),
            ("u+t", 0o755, 0o1755),
            ("o+t", 0o755, 0o755),
            ("-t", 0o1755, 0o755),
            ("go=u", 0o740, 0o777),
            ("go=u-w", 0o700, 0o755),
            ("g=u", 0o640, 0o660),
            ("o-u", 0o757, 0o750),
            ("u+r-w", 0o200, 0o400),
            ("a=", 0o6777, 0),
            ("a=rx", 0o7644, 0o1555),
            ("u=g=o", 0o754, 0o454),
            ("uo+w", 0o444, 0o646),
        ] {
            assert_eq!(apply(text, from, false), expected, "{text} on {from:o}: {:o}", apply(text, from, false));
        }
    }

    #[test]
    fn capital_x_looks_at_the_source() {
        assert_eq!(apply("u=rwX,go=rX", 0o600, false), 0o644);
        assert_eq!(apply("u=rwX,go=rX", 0o755, false), 0o755);
        assert_eq!(apply("u=rwX,go=rX", 0o700, true), 0o755);
        assert_eq!(apply("a+X", 0o644, true), 0o755);
        assert_eq!(apply("a+X", 0o644, false), 0o644);
    }

    #[test]
    fn what_is_no_mode() {
        for text in ["", "xyz", "0999", "u", "u+q", "u+x,", ",u+x", "rwx", "u+x g+x", "+é"] {
            let error = ModeChange::new(Some(&Chmod::Symbolic(text.into()))).unwrap_err();
            assert!(error.to_string().contains(&format!("'{text}'")), "{error}");
        }
        assert!(ModeChange::new(Some(&Chmod::Octal(0o10000))).is_err());
    }

    #[test]
    fn new_directories_take_the_permission_bits_of_an_octal_mode() {
        let of = |chmod| ModeChange::new(Some(&chmod)).unwrap().of_new_directories();
        assert_eq!(of(Chmod::Octal(0o4640)), 0o640);
        assert_eq!(of(Chmod::Symbolic("u+x".into())), 0o755);
        assert_eq!(ModeChange::Keep.of_new_directories(), 0o755);
    }
}
