//! What the digest must notice, and what it must not: over random entities, columns, rows and damages.

use handover_canonical::{
    Column, Digest, EntityHash, KeyBlock, Layout, RowHash, RowHasher, Scalar, Type, WireError, user_digest,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::common::{Value, row};

/// All that a digest is of.
#[derive(Debug, Clone)]
struct World {
    key: Vec<u8>,
    plan_hash: [u8; 32],
    entities: Vec<Entity>,
}

#[derive(Debug, Clone)]
struct Entity {
    name: String,
    columns: Vec<(String, Type)>,
    rows: Vec<Vec<Value>>,
}

impl Entity {
    fn layout(&self) -> Layout {
        let columns = self.columns.iter().map(|(name, ty)| Column::new(name, *ty)).collect();
        Layout::new(&self.name, columns).expect("valid")
    }
}

impl World {
    fn digest(&self) -> Digest {
        let rows: Vec<Vec<Vec<u8>>> = self
            .entities
            .iter()
            .map(|entity| entity.rows.iter().map(|values| row(values)).collect())
            .collect();
        self.digest_of(&rows).expect("well formed")
    }

    /// The digest with other row bytes in place of the entities' own.
    fn digest_of(&self, rows: &[Vec<Vec<u8>>]) -> Result<Digest, WireError> {
        let key = KeyBlock::try_from(self.key.as_slice()).expect("64 bytes");
        let mut hashes = Vec::new();
        for (entity, rows) in self.entities.iter().zip(rows) {
            let layout = entity.layout();
            let hasher = RowHasher::new(&key, &layout);
            let mut hash = EntityHash::default();
            for row in rows {
                hash.add(&hasher.hash(row)?);
            }
            hashes.push((layout, hash));
        }
        let entities: Vec<_> = hashes.iter().map(|(layout, hash)| (layout, hash)).collect();
        Ok(user_digest(&self.plan_hash, &entities))
    }

    /// Where the rows are: entity and row.
    fn rows(&self) -> Vec<(usize, usize)> {
        let entities = self.entities.iter().enumerate();
        entities.flat_map(|(nth, entity)| (0..entity.rows.len()).map(move |row| (nth, row))).collect()
    }
}

/// A value that the type's column may hold: arrays have a header, everything else is bytes.
fn value(ty: Type) -> BoxedStrategy<Value> {
    let bytes = vec(any::<u8>(), 0..20);
    let value = if ty.is_array() {
        bytes.prop_map(|tail| [vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], tail].concat()).boxed()
    } else {
        bytes.boxed()
    };
    proptest::option::weighted(0.8, value).boxed()
}

fn entity(name: usize) -> impl Strategy<Value = Entity> {
    let types = vec(select(Type::all().collect::<Vec<_>>()), 1..5);
    types.prop_flat_map(move |types| {
        let rows = vec(types.iter().map(|ty| value(*ty)).collect::<Vec<_>>(), 0..5);
        let columns: Vec<_> = types.into_iter().enumerate().map(|(n, ty)| (format!("c{n}"), ty)).collect();
        rows.prop_map(move |rows| Entity { name: format!("entity{name}"), columns: columns.clone(), rows })
    })
}

fn world() -> impl Strategy<Value = World> {
    let entities = (entity(0), entity(1), proptest::option::of(entity(2)));
    (vec(any::<u8>(), 64), any::<[u8; 32]>(), entities).prop_map(|(key, plan_hash, (one, two, three))| {
        let entities = [one, two].into_iter().chain(three).collect();
        World { key, plan_hash, entities }
    })
}

/// A world with at least one row, and one of its rows.
fn world_and_row() -> impl Strategy<Value = (World, (usize, usize))> {
    let worlds = world().prop_filter("a row", |world| !world.rows().is_empty());
    (worlds, any::<Index>()).prop_map(|(world, index)| {
        let place = *index.get(&world.rows());
        (world, place)
    })
}

/// Bit numbers of a row that are the blanked part of an array's header.
fn blanked(entity: &Entity, values: &[Value]) -> Vec<std::ops::Range<usize>> {
    let mut at = 0;
    let mut ranges = Vec::new();
    for ((_, ty), value) in entity.columns.iter().zip(values) {
        at += 4;
        if let Some(value) = value {
            if ty.is_array() {
                ranges.push((at + 4) * 8..(at + 12) * 8);
            }
            at += value.len();
        }
    }
    ranges
}

proptest! {
    #[test]
    fn any_flipped_bit_is_an_error_or_another_digest((world, (e, r)) in world_and_row(), index: Index) {
        let mut rows: Vec<Vec<Vec<u8>>> =
            world.entities.iter().map(|entity| entity.rows.iter().map(|values| row(values)).collect()).collect();
        let bit = index.index(rows[e][r].len() * 8);
        rows[e][r][bit / 8] ^= 1 << (bit % 8);
        let blank = blanked(&world.entities[e], &world.entities[e].rows[r]).iter().any(|range| range.contains(&bit));
        let after = world.digest_of(&rows);
        // The blanked bytes are the value's history: they alone must not matter.
        prop_assert_eq!(after == Ok(world.digest()), blank);
    }

    #[test]
    fn a_dropped_row_changes_the_digest((world, (e, r)) in world_and_row()) {
        let mut damaged = world.clone();
        damaged.entities[e].rows.remove(r);
        prop_assert_ne!(damaged.digest(), world.digest());
    }

    #[test]
    fn a_row_repeated_any_number_of_times_changes_the_digest((world, (e, r)) in world_and_row(), times in 1usize..70) {
        let mut damaged = world.clone();
        let row = damaged.entities[e].rows[r].clone();
        damaged.entities[e].rows.extend(std::iter::repeat_n(row, times));
        prop_assert_ne!(damaged.digest(), world.digest());
    }

    #[test]
    fn a_row_in_place_of_another_changes_the_digest((world, (e, r)) in world_and_row(), other: Index) {
        let mut damaged = world.clone();
        let rows = &mut damaged.entities[e].rows;
        let other = other.get(rows).clone();
        let same = rows[r] == other;
        rows[r] = other;
        prop_assert_eq!(damaged.digest() == world.digest(), same);
    }

    #[test]
    fn values_that_change_places_in_a_row_change_the_digest(
        (world, (e, r)) in world_and_row(), one: Index, other: Index,
    ) {
        let mut damaged = world.clone();
        // The same bytes in the other column: arrays keep their shape only if both are arrays.
        let columns = world.entities[e].columns.len();
        let (one, other) = (one.index(columns), other.index(columns));
        let array = |place: usize| world.entities[e].columns[place].1.is_array();
        prop_assume!(array(one) == array(other));
        damaged.entities[e].rows[r].swap(one, other);
        let same = damaged.entities[e].rows[r] == world.entities[e].rows[r];
        prop_assert_eq!(damaged.digest() == world.digest(), same);
    }

    #[test]
    fn values_that_change_places_between_rows_change_the_digest(
        (world, (e, r)) in world_and_row(), other: Index, column: Index,
    ) {
        let mut damaged = world.clone();
        let rows = &mut damaged.entities[e].rows;
        let (other, column) = (other.index(rows.len()), column.index(rows[r].len()));
        let value = std::mem::take(&mut rows[r][column]);
        let value = std::mem::replace(&mut rows[other][column], value);
        rows[r][column] = value;
        let (mut before, mut after) = (world.entities[e].rows.clone(), rows.clone());
        before.sort();
        after.sort();
        prop_assert_eq!(damaged.digest() == world.digest(), before == after);
    }

    #[test]
    fn a_row_that_moves_to_another_entity_changes_the_digest((mut world, (e, r)) in world_and_row()) {
        let mut twin = world.entities[e].clone();
        twin.name = "twin".to_owned();
        world.entities.push(twin);
        let mut damaged = world.clone();
        let row = damaged.entities[e].rows.remove(r);
        damaged.entities.last_mut().expect("the twin").rows.push(row);
        prop_assert_ne!(damaged.digest(), world.digest());
    }

    #[test]
    fn another_declared_type_changes_the_digest(
        world in world(), e: Index, c: Index, ty in select(Type::all().collect::<Vec<_>>()),
    ) {
        let mut damaged = world.clone();
        let entity = e.index(world.entities.len());
        // Rows as they are: a type alone must do. Without them it is also certain that they have the new shape.
        damaged.entities[entity].rows.clear();
        let before = damaged.digest();
        let columns = &mut damaged.entities[entity].columns;
        let column = c.index(columns.len());
        let same = columns[column].1 == ty;
        columns[column].1 = ty;
        prop_assert_eq!(damaged.digest() == before, same);
    }

    #[test]
    fn another_scalar_type_over_the_same_rows_changes_the_digest((world, (e, _)) in world_and_row(), c: Index) {
        let mut damaged = world.clone();
        let columns = &mut damaged.entities[e].columns;
        let column = c.index(columns.len());
        let types =
            [Type::INT8, Type::TEXT, Type::array_of(Scalar::Text), Type::array_of(Scalar::Int4)];
        let old = columns[column].1;
        let other = types.into_iter().find(|ty| ty.is_array() == old.is_array() && *ty != old);
        let ty = other.expect("there are two of each");
        columns[column].1 = ty;
        prop_assert_ne!(damaged.digest(), world.digest());
    }

    #[test]
    fn another_name_order_or_number_of_columns_changes_the_digest(world in world(), e: Index, c: Index) {
        let e = e.index(world.entities.len());
        let c = c.index(world.entities[e].columns.len());
        let mut empty = world.clone();
        empty.entities[e].rows.clear();
        let before = empty.digest();
        let changed = |change: fn(&mut Entity, usize)| {
            let mut damaged = empty.clone();
            change(&mut damaged.entities[e], c);
            damaged.digest()
        };
        prop_assert_ne!(changed(|entity, c| entity.columns[c].0.push('x')), before);
        prop_assert_ne!(changed(|entity, _| entity.name.push('x')), before);
        prop_assert_ne!(changed(|entity, _| entity.columns.push(("more".to_owned(), Type::INT8))), before);
        if world.entities[e].columns.len() > 1 {
            prop_assert_ne!(changed(|entity, _| entity.columns.rotate_left(1)), before);
            prop_assert_ne!(changed(|entity, c| drop(entity.columns.remove(c))), before);
        }
    }

    #[test]
    fn another_plan_key_or_list_of_entities_changes_the_digest((world, _) in world_and_row(), bit in 0usize..256) {
        let before = world.digest();
        let mut damaged = world.clone();
        damaged.plan_hash[bit / 8] ^= 1 << (bit % 8);
        prop_assert_ne!(damaged.digest(), before);
        let mut damaged = world.clone();
        damaged.key[bit / 4] ^= 1 << (bit % 8);
        prop_assert_ne!(damaged.digest(), before);
        let mut damaged = world.clone();
        damaged.entities.rotate_left(1);
        prop_assert_ne!(damaged.digest(), before);
        let mut damaged = world.clone();
        let columns = vec![("c".to_owned(), Type::INT8)];
        damaged.entities.push(Entity { name: "more".to_owned(), columns, rows: vec![] });
        prop_assert_ne!(damaged.digest(), before);
    }

    #[test]
    fn the_order_of_rows_does_not_matter((world, (e, _)) in world_and_row(), seed: u64) {
        let mut shuffled = world.clone();
        let rows = &mut shuffled.entities[e].rows;
        let turn = (seed as usize) % rows.len();
        rows.rotate_left(turn);
        if seed.is_multiple_of(2) {
            rows.reverse();
        }
        prop_assert_eq!(shuffled.digest(), world.digest());
    }

    #[test]
    fn rows_can_be_hashed_in_parts_and_taken_out_again(hashes in vec(any::<[u8; 32]>(), 1..20), cut: Index) {
        let hashes: Vec<_> = hashes.into_iter().map(RowHash::from_bytes).collect();
        let sum = |rows: &[RowHash]| {
            let mut sum = EntityHash::default();
            for row in rows {
                sum.add(row);
            }
            sum
        };
        let cut = cut.index(hashes.len());
        let mut merged = sum(&hashes[..cut]);
        merged.merge(&sum(&hashes[cut..]));
        prop_assert_eq!(merged, sum(&hashes));
        prop_assert_eq!(EntityHash::from_bytes(&merged.to_bytes()), merged);
        merged.sub(&hashes[cut]);
        let rest: Vec<_> = [&hashes[..cut], &hashes[cut + 1..]].concat();
        prop_assert_eq!(merged, sum(&rest));
    }

    #[test]
    fn hashing_a_row_and_hashing_it_normalised_are_the_same((world, (e, r)) in world_and_row()) {
        let layout = world.entities[e].layout();
        let hasher = RowHasher::new(&KeyBlock::from_bytes([3; 64]), &layout);
        let wire = row(&world.entities[e].rows[r]);
        let normal = layout.normalise(&wire).expect("well formed");
        prop_assert_eq!(hasher.hash(&wire), hasher.hash(&normal));
    }

    #[test]
    fn a_row_with_a_field_more_or_less_is_refused((world, (e, r)) in world_and_row(), extra in value(Type::TEXT)) {
        let entity = &world.entities[e];
        let hasher = RowHasher::new(&KeyBlock::from_bytes([3; 64]), &entity.layout());
        let mut values = entity.rows[r].clone();
        values.push(extra);
        prop_assert_eq!(hasher.hash(&row(&values)), Err(WireError::ExtraBytes { expected: entity.columns.len() }));
        values.truncate(entity.columns.len() - 1);
        let missing = WireError::MissingFields { expected: entity.columns.len(), got: values.len() };
        prop_assert_eq!(hasher.hash(&row(&values)), Err(missing));
    }
}

#[test]
fn null_the_empty_string_and_a_shifted_boundary_are_four_digests() {
    let digest = |values: [Option<&str>; 2]| {
        let rows = vec![values.map(|value| value.map(|text| text.as_bytes().to_vec())).to_vec()];
        let columns = vec![("a".to_owned(), Type::TEXT), ("b".to_owned(), Type::TEXT)];
        let entities = vec![Entity { name: "e".to_owned(), columns, rows }];
        World { key: vec![1; 64], plan_hash: [2; 32], entities }.digest()
    };
    let all =
        [[Some("ab"), Some("c")], [Some("a"), Some("bc")], [Some("abc"), Some("")], [Some("abc"), None]]
            .map(digest);
    for (n, one) in all.iter().enumerate() {
        assert!(!all[..n].contains(one));
    }
}
