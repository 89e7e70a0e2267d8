//! "Did you mean …?" for mistyped words.

/// Distance from which on two words have nothing to do with each other.
const TOO_FAR: usize = 3;

/// The option nearest to `word`, when it is near enough; nothing when `word` is one of them.
/// Of equally near ones the first that starts like `word`, else the first.
pub(crate) fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let ranked = options.into_iter().map(|option| {
        let other_start = word.chars().next() != option.chars().next();
        (distance(word, option), other_start, option)
    });
    let (far, _, option) = ranked.min_by_key(|(far, other_start, _)| (*far, *other_start))?;
    (1..TOO_FAR).contains(&far).then_some(option)
}

/// `message` with the suggestion, if there is one.
pub(super) fn append(message: String, suggestion: Option<&str>) -> String {
    match suggestion {
        Some(word) => format!("{message} (did you mean {word}?)"),
        None => message,
    }
}

/// Levenshtein distance in characters; [`TOO_FAR`] when the lengths alone say so.
fn distance(left: &str, right: &str) -> usize {
    let left_length = left.chars().count();
    let right: Vec<char> = right.chars().collect();
    if left_length.abs_diff(right.len()) >= TOO_FAR {
        return TOO_FAR;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
