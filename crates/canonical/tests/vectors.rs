//! The engine's code against the page's vectors, which were computed by other code.

use handover_canonical::{EntityHash, RowHasher, Type, user_digest};

use crate::common;

#[test]
fn the_code_computes_the_pages_digest_step_by_step() {
    let vector = common::user_vector();
    let mut hashes = Vec::new();
    for entity in &vector.entities {
        let hasher = RowHasher::new(&vector.key, &entity.layout);
        let mut sum = EntityHash::default();
        for (row, expected) in &entity.rows {
            let hash = hasher.hash(row).expect("well formed");
            assert_eq!(&hex::encode(hash.as_bytes()), expected);
            sum.add(&hash);
        }
        assert_eq!(sum, entity.hash, "{}", entity.layout.name());
        hashes.push((&entity.layout, sum));
    }
    assert_eq!(hashes.len(), 3);
    let entities: Vec<_> = hashes.iter().map(|(layout, hash)| (*layout, hash)).collect();
    assert_eq!(user_digest(&vector.plan_hash, &entities).to_string(), vector.user_digest);
}

#[test]
fn the_pages_preimage_is_what_its_digest_is_of() {
    use sha2::Digest as _;
    let vector = common::user_vector();
    assert_eq!(hex::encode(sha2::Sha256::digest(&vector.preimage)), vector.user_digest);
}

#[test]
fn the_page_has_a_vector_for_every_scalar_type() {
    let vectors = common::value_vectors();
    let types: Vec<Type> = vectors.iter().map(|vector| vector.ty.parse().expect("in the list")).collect();
    for ty in Type::all().filter(|ty| !ty.is_array()) {
        assert!(types.contains(&ty), "{ty}");
    }
    for vector in vectors {
        assert!(hex::decode(&vector.bytes).is_ok(), "{vector:?}");
    }
}
