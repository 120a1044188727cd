//! Runs a compiled transform: one canonical row in, one tuple of a binary `COPY` out.
//!
//! The hot path: plain columns are copied with their lengths, neighbours in one piece; nothing is allocated
//! for a row but what the output buffer grows by. Whether fills suit their columns was decided in `compile`.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::{BufMut, BytesMut};
use handover_canonical::copy::{MAX_BYTES, put_field, put_tuple_header};
use uuid::Uuid;

use crate::{
    error::{RowError, RowProblem},
    registry::{Applied, RowTransform},
    row::{Cut, Fields, Span},
    spelling::{Malformed, Speller, Style},
};

/// How the user's key is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum UserKey {
    Copy,
    /// Any key into text.
    Spell(Speller),
    /// A text key into uuid, where it is spelled as a uuid is.
    ParseUuid,
    /// A text key into an integer of so many bytes, where it is spelled as one.
    ParseInt(usize),
    /// An int8 key into an integer of so many bytes.
    Narrow(usize),
}

/// A map by wire form, sorted.
pub(crate) struct Table {
    pub(crate) entries: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) null: Option<Vec<u8>>,
}

/// One value of a JSON object.
#[derive(Clone)]
pub(crate) struct Member {
    /// What precedes the value: brace or comma, key, colon.
    pub(crate) before: Vec<u8>,
    pub(crate) field: usize,
    pub(crate) speller: Speller,
}

/// What is done for one sent column.
#[derive(Clone)]
pub(crate) enum Op {
    /// `count` fields of the row as they stand, for as many sent columns.
    Run {
        first: usize,
        count: usize,
    },
    /// One field, copied alone, since it is an array and names its element type.
    Array {
        field: usize,
    },
    /// The same value in each row.
    Fixed(Arc<[u8]>),
    User(UserKey),
    Map {
        field: usize,
        table: Arc<Table>,
    },
    Uuid5 {
        namespace: Uuid,
        parts: Arc<[(usize, Speller)]>,
    },
    Json {
        style: Style,
        members: Arc<[Member]>,
    },
    /// The drawn value at `slot`, as an integer of `width` bytes.
    Sequence {
        slot: usize,
        width: usize,
    },
    Rust {
        transform: Arc<dyn RowTransform>,
        from: Arc<[usize]>,
    },
}

/// An operation and the first of the sent columns that it fills.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) column: usize,
    pub(crate) not_null: bool,
    /// The element type's object identifier at the destination, where the column is an array.
    pub(crate) element: Option<[u8; 4]>,
    pub(crate) op: Op,
}

/// A column that is filled from a sequence. Its place among [`Transform::sequences`] is the place of its
/// value in what `encode_with` is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceColumn {
    /// Place among [`Transform::columns`].
    pub column: usize,
    /// The sequence, as the plan spells it.
    pub sequence: String,
    /// The canonical column under whose value the drawn number is kept.
    pub key: String,
    /// That column's place in the layout.
    pub key_field: usize,
}

/// Memory that is used again from row to row. One for each task that encodes.
#[derive(Debug, Default)]
pub struct Scratch {
    spans: Vec<Span>,
    work: Work,
}

/// Room for a spelling, and for a value that is only compared.
#[derive(Debug, Default)]
struct Work {
    text: Vec<u8>,
    value: BytesMut,
}

/// The compiled fills of one destination table.
#[derive(Clone)]
pub struct Transform {
    pub(crate) entity: String,
    pub(crate) fields: usize,
    pub(crate) columns: Vec<String>,
    pub(crate) sequences: Vec<SequenceColumn>,
    /// One step for each sent column.
    pub(crate) single: Vec<Step>,
    /// The same with neighbouring plain columns joined.
    pub(crate) steps: Vec<Step>,
    /// Fields that are copied into columns that are NOT NULL, and those columns.
    pub(crate) required: Vec<(usize, usize)>,
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transform")
            .field("entity", &self.entity)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// What a step reads.
struct Input<'a, R: ?Sized> {
    user: &'a [u8],
    row: &'a R,
    drawn: &'a [i64],
}

impl Transform {
    /// The columns that are sent, in order: `COPY table (columns) FROM STDIN (FORMAT binary)`. Not quoted.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The columns for which a value must be drawn for each row, in the order in which the values are given.
    pub fn sequences(&self) -> &[SequenceColumn] {
        &self.sequences
    }

    /// Appends one tuple for a row given as fields. For tables without sequences.
    ///
    /// # Errors
    ///
    /// Where a value cannot be written; `out` is as it was before.
    pub fn encode(&self, user: &[u8], fields: &[Option<&[u8]>], out: &mut BytesMut) -> Result<(), RowError> {
        self.encode_with(user, fields, &[], &mut Scratch::default(), out)
    }

    /// Appends one tuple for a row given as fields, with the values that were drawn for it.
    ///
    /// # Errors
    ///
    /// Where a value cannot be written; `out` is as it was before.
    pub fn encode_with(
        &self,
        user: &[u8],
        fields: &[Option<&[u8]>],
        drawn: &[i64],
        scratch: &mut Scratch,
        out: &mut BytesMut,
    ) -> Result<(), RowError> {
        if fields.len() != self.fields {
            return Err(self.row_error(RowProblem::FieldCount));
        }
        self.tuple(&Input { user, row: fields, drawn }, &mut scratch.work, out)
    }

    /// Appends one tuple for a row given as its canonical bytes (each field behind its length): the fastest
    /// way in.
    ///
    /// # Errors
    ///
    /// Where a value cannot be written; `out` is as it was before.
    pub fn encode_row(
        &self,
        user: &[u8],
        row: &[u8],
        drawn: &[i64],
        scratch: &mut Scratch,
        out: &mut BytesMut,
    ) -> Result<(), RowError> {
        let Scratch { spans, work } = scratch;
        let row = Cut::new(row, self.fields, spans).map_err(|problem| self.row_error(problem))?;
        self.tuple(&Input { user, row: &row, drawn }, work, out)
    }

    /// The value of one sent column, or `None` for NULL: what a `derived` column must equal when it is read
    /// back.
    ///
    /// # Errors
    ///
    /// Where the value cannot be computed from the row (a drawn one, or no such column), or cannot be
    /// written.
    pub fn encode_derived(
        &self,
        name: &str,
        user: &[u8],
        fields: &[Option<&[u8]>],
    ) -> Result<Option<Vec<u8>>, RowError> {
        if fields.len() != self.fields {
            return Err(self.row_error(RowProblem::FieldCount));
        }
        let mut work = Work::default();
        let column = self.derived(name).ok_or_else(|| self.no_such(name))?;
        let value = self.value_of(column, &Input { user, row: fields, drawn: &[] }, &mut work)?;
        Ok(value.map(<[u8]>::to_vec))
    }

    /// The place among the sent columns of one that can be recomputed and compared; `None` where there is no
    /// such column, or its value is drawn, or Postgres would spell the JSON in it otherwise.
    pub fn derived(&self, name: &str) -> Option<usize> {
        let column = self.columns.iter().position(|sent| sent == name)?;
        self.single[column].op.is_recomputed().then_some(column)
    }

    /// Whether the sent column at `column` (of [`derived`](Self::derived)), recomputed from a row that was
    /// read back, is `read`.
    ///
    /// # Errors
    ///
    /// Where the value cannot be computed.
    pub fn derived_equals(
        &self,
        column: usize,
        user: &[u8],
        row: &[u8],
        read: Option<&[u8]>,
        scratch: &mut Scratch,
    ) -> Result<bool, RowError> {
        let Scratch { spans, work } = scratch;
        let row = Cut::new(row, self.fields, spans).map_err(|problem| self.row_error(problem))?;
        let computed = self.value_of(column, &Input { user, row: &row, drawn: &[] }, work)?;
        Ok(match (computed, read) {
            // An array's has-null flag and element type are not its content.
            (Some(computed), Some(read)) if self.single[column].element.is_some() => {
                read.len() == computed.len() && read[..4] == computed[..4] && read[12..] == computed[12..]
            }
            (computed, read) => computed == read,
        })
    }

    fn tuple<R: Fields + ?Sized>(
        &self,
        input: &Input<'_, R>,
        work: &mut Work,
        out: &mut BytesMut,
    ) -> Result<(), RowError> {
        let start = out.len();
        let written = self.put_tuple(input, work, out);
        written.map_err(|(column, problem)| {
            out.truncate(start);
            self.error(column, problem)
        })
    }

    fn put_tuple<R: Fields + ?Sized>(
        &self,
        input: &Input<'_, R>,
        work: &mut Work,
        out: &mut BytesMut,
    ) -> Result<(), (usize, RowProblem)> {
        for &(field, column) in &self.required {
            if input.row.field(field).is_none() {
                return Err((column, RowProblem::Null));
            }
        }
        put_tuple_header(out, self.columns.len()).map_err(|_| (0, RowProblem::TooLong))?;
        for step in &self.steps {
            step.put(input, &mut work.text, out).map_err(|problem| (step.column, problem))?;
        }
        Ok(())
    }

    /// Computes one column's value into `work`, without its length.
    fn value_of<'w, R: Fields + ?Sized>(
        &self,
        column: usize,
        input: &Input<'_, R>,
        work: &'w mut Work,
    ) -> Result<Option<&'w [u8]>, RowError> {
        let step = self.single.get(column).ok_or_else(|| self.row_error(RowProblem::NotComputed))?;
        work.value.clear();
        step.put(input, &mut work.text, &mut work.value).map_err(|problem| self.error(column, problem))?;
        let (length, value) = work.value.split_at(4);
        Ok((length != [0xFF; 4]).then_some(value))
    }

    fn error(&self, column: usize, problem: RowProblem) -> RowError {
        let column = self.columns.get(column).cloned().unwrap_or_default();
        RowError { entity: self.entity.clone(), column, problem }
    }

    fn row_error(&self, problem: RowProblem) -> RowError {
        RowError { entity: self.entity.clone(), column: String::new(), problem }
    }

    fn no_such(&self, name: &str) -> RowError {
        RowError { entity: self.entity.clone(), column: name.to_owned(), problem: RowProblem::NotComputed }
    }
}

impl Step {
    /// Appends the field or fields, each behind its length.
    fn put<R: Fields + ?Sized>(
        &self,
        input: &Input<'_, R>,
        text: &mut Vec<u8>,
        out: &mut BytesMut,
    ) -> Result<(), RowProblem> {
        match &self.op {
            Op::Run { first, count } => return input.row.put_run(*first, *count, out),
            Op::Fixed(value) => return put_field(out, Some(value)).map_err(|_| RowProblem::TooLong),
            _ => {}
        }
        let start = out.len();
        out.put_i32(-1);
        match self.op.put_value(input, text, out)? {
            Applied::Value => {
                let length = out.len() - start - 4;
                let length = i32::try_from(length).ok().filter(|_| length <= MAX_BYTES);
                let length = length.ok_or(RowProblem::TooLong)?;
                out[start..start + 4].copy_from_slice(&length.to_be_bytes());
                self.element.map_or(Ok(()), |element| rename_elements(&mut out[start + 4..], element))
            }
            Applied::Null if self.not_null => Err(RowProblem::Null),
            Applied::Null => {
                out.truncate(start + 4);
                Ok(())
            }
        }
    }
}

impl Op {
    /// Whether the value is a function of user and row, and comes back as it was sent.
    fn is_recomputed(&self) -> bool {
        match self {
            Self::Sequence { .. } => false,
            Self::Json { style: Style::Jsonb, members } => !members.iter().any(|m| m.speller.embeds_json()),
            _ => true,
        }
    }

    /// Appends the value without its length.
    fn put_value<R: Fields + ?Sized>(
        &self,
        input: &Input<'_, R>,
        text: &mut Vec<u8>,
        out: &mut BytesMut,
    ) -> Result<Applied, RowProblem> {
        match self {
            Self::Fixed(value) => Ok(put_copy(Some(value), out)),
            Self::Run { first: field, .. } | Self::Array { field } => {
                Ok(put_copy(input.row.field(*field), out))
            }
            Self::User(key) => key.put(input.user, out),
            Self::Map { field, table } => table.put(input.row.field(*field), out),
            Self::Uuid5 { namespace, parts } => put_uuid5(namespace, parts, input.row, text, out),
            Self::Json { style, members } => put_json(*style, members, input.row, out),
            Self::Sequence { slot, width } => {
                let drawn = input.drawn.get(*slot).ok_or(RowProblem::NotDrawn)?;
                put_int(*drawn, *width, out)
            }
            Self::Rust { transform, from } => put_rust(&**transform, from, input.row, text, out),
        }
    }
}

fn put_copy(value: Option<&[u8]>, out: &mut BytesMut) -> Applied {
    let Some(value) = value else { return Applied::Null };
    out.extend_from_slice(value);
    Applied::Value
}

/// Names the element type as the destination numbers it, in an array's header: number of dimensions, has-null
/// flag, element type.
fn rename_elements(array: &mut [u8], element: [u8; 4]) -> Result<(), RowProblem> {
    array.get_mut(8..12).ok_or(RowProblem::Malformed)?.copy_from_slice(&element);
    Ok(())
}

/// Appends a whole number as an integer of `width` bytes, if it fits.
fn put_int(number: i64, width: usize, out: &mut BytesMut) -> Result<Applied, RowProblem> {
    let fits = match width {
        2 => i16::try_from(number).is_ok(),
        4 => i32::try_from(number).is_ok(),
        _ => true,
    };
    if !fits {
        return Err(RowProblem::OutOfRange);
    }
    out.put_int(number, width);
    Ok(Applied::Value)
}

impl UserKey {
    fn put(self, user: &[u8], out: &mut BytesMut) -> Result<Applied, RowProblem> {
        match self {
            Self::Copy => out.extend_from_slice(user),
            Self::Spell(speller) => speller.text(user, out).map_err(malformed)?,
            Self::ParseUuid => {
                let uuid = uuid_spelled(user).ok_or(RowProblem::UserKey)?;
                out.extend_from_slice(uuid.as_bytes());
            }
            Self::ParseInt(width) => {
                return put_int(int_spelled(user).ok_or(RowProblem::UserKey)?, width, out);
            }
            Self::Narrow(width) => {
                let key = user.try_into().map(i64::from_be_bytes).map_err(|_| RowProblem::Malformed)?;
                return put_int(key, width, out);
            }
        }
        Ok(Applied::Value)
    }
}

/// A uuid whose own spelling is exactly this: otherwise two users' keys could become one.
fn uuid_spelled(text: &[u8]) -> Option<Uuid> {
    let uuid = Uuid::try_parse_ascii(text).ok()?;
    let mut spelled = [0; uuid::fmt::Hyphenated::LENGTH];
    (uuid.hyphenated().encode_lower(&mut spelled).as_bytes() == text).then_some(uuid)
}

/// A whole number whose own spelling is exactly this.
fn int_spelled(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let first = usize::from(number < 0);
    let padded = matches!(text.get(first..), Some([b'0', _, ..])) || text == b"-0";
    (!padded && text.first() != Some(&b'+')).then_some(number)
}

impl Table {
    fn put(&self, value: Option<&[u8]>, out: &mut BytesMut) -> Result<Applied, RowProblem> {
        let found = match (value, &self.null) {
            (None, None) => return Ok(Applied::Null),
            (None, Some(found)) => found,
            (Some(value), _) => self.look_up(value).ok_or(RowProblem::Unmapped)?,
        };
        out.extend_from_slice(found);
        Ok(Applied::Value)
    }

    fn look_up(&self, value: &[u8]) -> Option<&Vec<u8>> {
        // Enum maps are mostly this small, and then a scan is faster.
        if self.entries.len() <= 8 {
            return self.entries.iter().find(|(key, _)| key == value).map(|(_, to)| to);
        }
        let found = self.entries.binary_search_by(|(key, _)| key.as_slice().cmp(value)).ok()?;
        Some(&self.entries[found].1)
    }
}

fn put_uuid5<R: Fields + ?Sized>(
    namespace: &Uuid,
    parts: &[(usize, Speller)],
    row: &R,
    name: &mut Vec<u8>,
    out: &mut BytesMut,
) -> Result<Applied, RowProblem> {
    name.clear();
    for (index, (field, speller)) in parts.iter().enumerate() {
        let Some(value) = row.field(*field) else { return Ok(Applied::Null) };
        if index > 0 {
            name.push(b':');
        }
        speller.text(value, name).map_err(malformed)?;
    }
    out.extend_from_slice(Uuid::new_v5(namespace, name).as_bytes());
    Ok(Applied::Value)
}

fn put_json<R: Fields + ?Sized>(
    style: Style,
    members: &[Member],
    row: &R,
    out: &mut BytesMut,
) -> Result<Applied, RowProblem> {
    if style == Style::Jsonb {
        // The version of jsonb's wire form.
        out.put_u8(1);
    }
    for member in members {
        out.extend_from_slice(&member.before);
        match row.field(member.field) {
            None => out.extend_from_slice(b"null"),
            Some(value) => member.speller.json(value, style, out).map_err(malformed)?,
        }
    }
    out.put_u8(b'}');
    Ok(Applied::Value)
}

fn put_rust<R: Fields + ?Sized>(
    transform: &dyn RowTransform,
    from: &[usize],
    row: &R,
    value: &mut Vec<u8>,
    out: &mut BytesMut,
) -> Result<Applied, RowProblem> {
    let mut few = [None; 8];
    let many: Vec<_>;
    let given = if let Some(few) = few.get_mut(..from.len()) {
        for (slot, field) in few.iter_mut().zip(from) {
            *slot = row.field(*field);
        }
        &*few
    } else {
        many = from.iter().map(|field| row.field(*field)).collect();
        &many[..]
    };
    value.clear();
    // Somebody else's code: its panic is this row's error and not the worker's end. The buffer is cleared
    // before each use.
    let applied = catch_unwind(AssertUnwindSafe(|| transform.apply(given, value)));
    let applied = applied.map_err(|_| RowProblem::Panicked)?.map_err(RowProblem::Refused)?;
    out.extend_from_slice(value);
    Ok(applied)
}

fn malformed(_: Malformed) -> RowProblem {
    RowProblem::Malformed
}
