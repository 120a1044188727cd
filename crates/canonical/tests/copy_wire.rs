//! The decoder over well-formed streams cut anywhere, and over malformed ones.

use bytes::Bytes;
use handover_canonical::WireError;
use handover_canonical::copy::{Decoder, HEADER, RowFields, TRAILER, put_field, put_tuple_header};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::common::{Value, drain, row, stream};

fn rows() -> impl Strategy<Value = Vec<Vec<Value>>> {
    vec(vec(proptest::option::of(vec(any::<u8>(), 0..40)), 0..6), 0..12)
}

/// The stream cut at these places, some pieces empty.
fn chunks(stream: &[u8], cuts: &[Index]) -> Vec<Bytes> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    places.extend([0, stream.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| Bytes::copy_from_slice(&stream[ends[0]..ends[1]])).collect()
}

/// Values of all rows, by way of `fields`, `field` and `after`, which must agree.
fn decode(chunks: Vec<Bytes>, eager: bool) -> Result<Vec<Vec<Value>>, WireError> {
    let mut decoder = Decoder::new();
    let mut tuples = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        if eager {
            tuples.extend(drain(&mut decoder)?);
        }
    }
    tuples.extend(drain(&mut decoder)?);
    decoder.finish()?;
    let values = tuples.iter().map(|tuple| {
        let values: Vec<Value> = tuple.fields().map(|value| value.map(<[u8]>::to_vec)).collect();
        assert_eq!(values.len(), tuple.field_count());
        for (n, value) in values.iter().enumerate() {
            assert_eq!(tuple.field(n), value.as_deref());
            assert_eq!(tuple.after(n), row(&values[n..]));
            assert_eq!(tuple.run(0..n), row(&values[..n]));
        }
        assert_eq!(tuple.field(values.len()), None);
        assert!(tuple.after(values.len() + 3).is_empty());
        values
    });
    Ok(values.collect())
}

proptest! {
    #[test]
    fn rows_come_out_as_they_went_in_wherever_the_chunks_are_cut(
        rows in rows(), cuts in vec(any::<Index>(), 0..30), eager: bool,
    ) {
        prop_assert_eq!(decode(chunks(&stream(&rows), &cuts), eager), Ok(rows));
    }

    #[test]
    fn a_byte_at_a_time_is_enough(rows in rows()) {
        let bytes = stream(&rows).into_iter().map(|byte| Bytes::from(vec![byte])).collect();
        prop_assert_eq!(decode(bytes, true), Ok(rows));
    }

    #[test]
    fn a_stream_that_ends_early_is_an_error(rows in rows(), end: Index) {
        let stream = stream(&rows);
        let end = end.index(stream.len());
        prop_assert_eq!(decode(vec![Bytes::copy_from_slice(&stream[..end])], true), Err(WireError::Unfinished));
    }

    #[test]
    fn anything_behind_the_trailer_is_an_error(rows in rows(), more in vec(any::<u8>(), 1..9), apart: bool) {
        let mut chunks = vec![Bytes::from(stream(&rows))];
        if apart {
            chunks.push(Bytes::from(more));
        } else {
            chunks = vec![Bytes::from([chunks.remove(0).to_vec(), more].concat())];
        }
        prop_assert_eq!(decode(chunks, true), Err(WireError::AfterTrailer));
    }

    #[test]
    fn a_damaged_stream_gives_an_error_or_other_rows_but_no_panic(
        rows in rows(), cuts in vec(any::<Index>(), 0..5), place: Index, bit in 0u8..8,
    ) {
        let mut damaged = stream(&rows);
        let place = place.index(damaged.len());
        damaged[place] ^= 1 << bit;
        prop_assert_ne!(decode(chunks(&damaged, &cuts), true), Ok(rows));
    }

    #[test]
    fn garbage_behind_a_header_is_never_a_panic(garbage in vec(any::<u8>(), 0..300), cuts in vec(any::<Index>(), 0..5)) {
        let garbage = [HEADER.to_vec(), garbage].concat();
        let _ = decode(chunks(&garbage, &cuts), true);
    }

    #[test]
    fn garbage_as_a_row_is_never_a_panic(garbage in vec(any::<u8>(), 0..100)) {
        let mut fields = RowFields::new(&garbage);
        let ended_well = fields.by_ref().all(|field| field.is_ok());
        prop_assert_eq!(fields.next(), None);
        if ended_well {
            let values = RowFields::new(&garbage).map(|field| field.expect("well").map(<[u8]>::to_vec));
            let values: Vec<Value> = values.collect();
            prop_assert_eq!(row(&values), garbage);
        }
    }
}

#[test]
fn a_row_within_one_chunk_is_a_slice_of_it() {
    let values = vec![vec![Some(vec![7; 100])], vec![Some(vec![8; 100]), None]];
    let chunk = Bytes::from(stream(&values));
    let memory = chunk.as_ptr_range();
    let mut decoder = Decoder::new();
    decoder.push(chunk);
    let tuples = drain(&mut decoder).expect("well formed");
    assert_eq!(tuples.len(), 2);
    for tuple in tuples {
        assert!(memory.contains(&tuple.wire().as_ptr()));
    }
}

#[test]
fn rows_behind_one_that_straddles_chunks_are_slices_again() {
    let stream = stream(&[vec![Some(vec![7; 100])], vec![Some(vec![8; 100])]]);
    let (head, tail) = stream.split_at(60);
    let tail = Bytes::copy_from_slice(tail);
    let memory = tail.as_ptr_range();
    let mut decoder = Decoder::new();
    decoder.push(Bytes::copy_from_slice(head));
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(tail);
    let tuples = drain(&mut decoder).expect("well formed");
    assert!(!memory.contains(&tuples[0].wire().as_ptr()));
    assert!(memory.contains(&tuples[1].wire().as_ptr()));
}

#[test]
fn an_empty_result_is_header_and_trailer() {
    assert_eq!(decode(vec![Bytes::from([HEADER.as_slice(), &TRAILER].concat())], true), Ok(vec![]));
    assert_eq!(decode(vec![], true), Err(WireError::Unfinished));
}

#[test]
fn each_malformed_stream_has_its_error() {
    let with = |bytes: &[u8]| {
        decode(vec![Bytes::from([HEADER.as_slice(), bytes].concat())], true).expect_err("malformed")
    };
    assert_eq!(with(&[0xff, 0xfe]), WireError::FieldCount(-2));
    assert_eq!(with(&[0, 1, 0xff, 0xff, 0xff, 0xfe]), WireError::FieldLength(-2));
    assert_eq!(with(&[0, 1, 0x7f, 0xff, 0xff, 0xff]), WireError::FieldLength(i32::MAX));
    assert_eq!(with(&[0, 2, 0x3f, 0xff, 0xff, 0xff]), WireError::TooLong { limit: 0x3fff_ffff });
    let begun = |bytes: Vec<u8>| decode(vec![Bytes::from(bytes)], true).expect_err("malformed");
    assert_eq!(begun(b"42\tthis is COPY in text form\n".to_vec()), WireError::Signature);
    for place in 11..19 {
        let mut header = HEADER.to_vec();
        header[place] = 1;
        assert_eq!(begun(header), WireError::Header);
    }
}

#[test]
fn an_error_repeats_itself() {
    let mut decoder = Decoder::new();
    decoder.push(Bytes::from([HEADER.as_slice(), &[0xff, 0xfe]].concat()));
    assert_eq!(decoder.next(), Err(WireError::FieldCount(-2)));
    decoder.push(Bytes::from_static(&TRAILER));
    assert_eq!(decoder.next(), Err(WireError::FieldCount(-2)));
    assert_eq!(decoder.finish(), Err(WireError::FieldCount(-2)));
}

#[test]
fn a_row_over_the_limit_is_refused_as_soon_as_it_says_so() {
    let mut decoder = Decoder::with_max_tuple(1000);
    decoder.push(Bytes::from([HEADER.as_slice(), &[0, 1], &2000_i32.to_be_bytes()].concat()));
    assert_eq!(decoder.next(), Err(WireError::TooLong { limit: 1000 }));
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let mut out = Vec::new();
    assert_eq!(put_tuple_header(&mut out, 40_000), Err(WireError::TooBig(40_000)));
    assert!(out.is_empty());
    assert_eq!(put_field(&mut out, None), Ok(()));
    assert_eq!(out, [0xff; 4]);
}

#[test]
fn nothing_of_a_row_is_shown_by_debug() {
    let mut decoder = Decoder::new();
    decoder.push(Bytes::from(stream(&[vec![Some(b"secret".to_vec())]])));
    let tuple = decoder.next().expect("well formed").expect("a row");
    assert_eq!(format!("{tuple:?}"), "Tuple(1 fields, 12 bytes)");
}
