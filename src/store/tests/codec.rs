//! The JSON form of records.

use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::image::Descriptor;

fn descriptor() -> impl Strategy<Value = Descriptor> {
    ("[a-z/+.]{1,20}", any::<[u8; 32]>(), any::<u64>())
        .prop_map(|(media_type, digest, size)| Descriptor::new(media_type, Digest::from_sha256(&digest), size))
}

fn record_layer() -> impl Strategy<Value = RecordLayer> {
    (descriptor(), any::<[u8; 64]>(), any::<u64>(), descriptor(), any::<i64>()).prop_map(
        |(blob, diff_id, uncompressed_size, toc, created)| {
            let diff_id = DiffId(Digest::from_sha512(&diff_id));
            RecordLayer { blob, diff_id, uncompressed_size, toc, created }
        },
    )
}

prop_compose! {
    fn record()(
        keys in any::<([u8; 32], Option<[u8; 32]>, Option<[u8; 32]>)>(),
        parts in prop::collection::btree_map(".*", ".*", 0..4),
        layers in prop::collection::vec(record_layer(), 0..3),
        times in any::<(i64, u64)>(),
        texts in (".*", ".*"),
    ) -> Record {
        Record {
            version: Record::VERSION,
            key: CacheKey(ContentHash(keys.0)),
            content_key: keys.1.map(|k| CacheKey(ContentHash(k))),
            parts,
            instruction: texts.0,
            layers,
            state: keys.2.map(ContentHash),
            created: times.0,
            duration_ms: times.1,
            executor: texts.1,
            signature: keys.1.map(|k| RecordSignature { key: format!("{k:?}"), value: "✓".into() }),
        }
    }
}

proptest! {
    #[test]
    fn a_record_is_read_as_written(record in record()) {
        let bytes = record.to_bytes();
        prop_assert_eq!(Record::from_bytes(&bytes, &record.key).expect("own form"), record.clone());
        if let Some(key) = record.content_key {
            prop_assert_eq!(Record::from_bytes(&bytes, &key).expect("own form"), record.clone());
        }
        let foreign = CacheKey(ContentHash::of(&bytes));
        prop_assert!(matches!(Record::from_bytes(&bytes, &foreign), Err(RecordError::Key(_))));
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), seed in any::<u32>()) {
        prop_assert!(Record::from_bytes(&bytes, &key(seed)).is_err());
    }

    #[test]
    fn a_cut_record_is_an_error(record in record(), at in any::<prop::sample::Index>()) {
        let bytes = record.to_bytes();
        prop_assert!(Record::from_bytes(&bytes[..at.index(bytes.len())], &record.key).is_err());
    }
}
