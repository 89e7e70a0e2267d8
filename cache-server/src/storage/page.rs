/// Part of a sorted list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page<T> {
    pub(crate) entries: Vec<T>,
    /// Whether the list goes on after the last entry.
    pub(crate) more: bool,
}

impl Page<String> {
    /// Up to `limit` of the sorted `names` that come after `after`, which need not be among them.
    pub(super) fn of(names: Vec<String>, after: Option<&str>, limit: usize) -> Self {
        let start = after.map_or(0, |after| names.partition_point(|name| name.as_str() <= after));
        let rest = names.len() - start;
        let entries: Vec<String> = names.into_iter().skip(start).take(limit).collect();
        let more = entries.len() < rest && !entries.is_empty();
        Self { entries, more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_neither_repeat_nor_drop_entries() {
        let names = || ["a", "a-1", "a1", "b"].map(String::from).to_vec();
        let page = |after, limit| Page::of(names(), after, limit);
        assert_eq!(page(None, 2), Page { entries: vec!["a".into(), "a-1".into()], more: true });
        assert_eq!(page(Some("a-1"), 2), Page { entries: vec!["a1".into(), "b".into()], more: false });
        assert_eq!(page(Some("a0"), 1), Page { entries: vec!["a1".into()], more: true });
        assert_eq!(page(Some("b"), 1), Page { entries: vec![], more: false });
        assert_eq!(page(None, 0), Page { entries: vec![], more: false });
    }
}
