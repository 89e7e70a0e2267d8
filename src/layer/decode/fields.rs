use crate::layer::Device;
use crate::layer::header::RECORD;

type Field<T> = Result<T, &'static str>;

/// A header record whose checksum is right. Offsets are those of the ustar format.
pub(super) struct Header([u8; RECORD]);

impl Header {
    pub(super) fn new(record: [u8; RECORD]) -> Field<Self> {
        let expected = number(&record[148..156])?;
        let sum = |value: fn(&u8) -> i64| -> i64 {
            let counted = record.iter().enumerate();
            counted.map(|(at, byte)| if (148..156).contains(&at) { i64::from(b' ') } else { value(byte) }).sum()
        };
        // Some old programs summed signed bytes.
        let signed = |byte: &u8| i64::from(*byte as i8);
        if sum(|byte| i64::from(*byte)) == expected || sum(signed) == expected {
            Ok(Self(record))
        } else {
            Err("wrong checksum")
        }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    /// Prefix and name joined.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        let prefix = until_nul(self.prefix());
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// Only POSIX archives have it; others keep times there.
    fn prefix(&self) -> &[u8] {
        if !self.is_posix() {
            b""
        } else if &self.0[508..512] == b"tar\0" {
            // star's variant of ustar, which ends with times.
            &self.0[345..476]
        } else {
            &self.0[345..500]
        }
    }

    fn is_posix(&self) -> bool {
        &self.0[257..263] == b"ustar\0"
    }

    pub(super) fn link(&self) -> &[u8] {
        until_nul(&self.0[157..257])
    }

    pub(super) fn mode(&self) -> Field<u32> {
        Ok((number(&self.0[100..108])? & 0o7777) as u32)
    }

    pub(super) fn uid(&self) -> Field<u64> {
        unsigned(&self.0[108..116])
    }

    pub(super) fn gid(&self) -> Field<u64> {
        unsigned(&self.0[116..124])
    }

    pub(super) fn size(&self) -> Field<u64> {
        unsigned(&self.0[124..136])
    }

    pub(super) fn mtime(&self) -> Field<i64> {
        number(&self.0[136..148])
    }

    pub(super) fn device(&self) -> Field<Device> {
        let part = |field| unsigned(field)?.try_into().map_err(|_| "device number out of range");
        Ok(Device { major: part(&self.0[329..337])?, minor: part(&self.0[337..345])? })
    }
}

/// The bytes before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn unsigned(field: &[u8]) -> Field<u64> {
    number(field)?.try_into().map_err(|_| "negative number")
}

/// Octal digits, or GNU's base 256 when the first bit is set. An empty field is zero.
pub(super) fn number(field: &[u8]) -> Field<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Field<i64> {
    let digits = until_nul(field.trim_ascii_start()).trim_ascii();
    digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => {
            let shifted = value.checked_mul(8).ok_or("number out of range")?;
            Ok(shifted | i64::from(digit - b'0'))
        }
        _ => Err("field is not a number"),
    })
}

/// Two's complement, big endian; the first bit is the mark, the second the sign.
fn base_256(field: &[u8]) -> Field<i64> {
    let negative = field[0] & 0x40 != 0;
    let first = if negative { i128::from(field[0] as i8) } else { i128::from(field[0] & 0x3f) };
    let value = field[1..].iter().fold(first, |value, byte| value << 8 | i128::from(*byte));
    value.try_into().map_err(|_| "number out of range")
}
