//! Checks the fills of one destination table and turns them into steps. All that is wrong is reported at
//! once.
//!
//! Sees types, never rows.

use std::{collections::BTreeSet, sync::Arc};

use handover_canonical::{Layout, Type};
use uuid::Uuid;

use crate::{
    constant,
    encode::{Member, Op, SequenceColumn, Step, Table, Transform, UserKey},
    error::{CompileError, Problem},
    fill::{Fill, Target, Value},
    registry::Registry,
    spelling::{Speller, Style},
    wire::{Scalar, Wire, element_oid},
};

impl Transform {
    /// Compiles fills that need no Rust transform.
    ///
    /// # Errors
    ///
    /// All fills that do not suit their columns.
    pub fn compile(
        layout: &Layout,
        user: &Type,
        columns: &[(Target, Fill)],
    ) -> Result<Self, Vec<CompileError>> {
        Self::compile_with(layout, user, columns, &Registry::new())
    }

    /// Compiles the fills of one table; `user` is the type of the installation's user key.
    ///
    /// # Errors
    ///
    /// All fills that do not suit their columns.
    pub fn compile_with(
        layout: &Layout,
        user: &Type,
        columns: &[(Target, Fill)],
        registry: &Registry,
    ) -> Result<Self, Vec<CompileError>> {
        let mut compiler = Compiler::new(layout, *user, registry);
        let mut filled = BTreeSet::new();
        for (target, fill) in columns {
            if !filled.insert(&target.name) {
                compiler.refuse(target, Problem::FilledTwice);
            } else if let Err(problem) = compiler.column(target, fill) {
                compiler.refuse(target, problem);
            }
        }
        compiler.finish()
    }
}

struct Compiler<'a> {
    layout: &'a Layout,
    user: Wire,
    registry: &'a Registry,
    columns: Vec<String>,
    steps: Vec<Step>,
    sequences: Vec<SequenceColumn>,
    errors: Vec<CompileError>,
}

impl<'a> Compiler<'a> {
    fn new(layout: &'a Layout, user: Type, registry: &'a Registry) -> Self {
        let user = Wire::of_type(user);
        Self { layout, user, registry, columns: vec![], steps: vec![], sequences: vec![], errors: vec![] }
    }

    fn refuse(&mut self, target: &Target, problem: Problem) {
        let (entity, column) = (self.layout.name().to_owned(), target.name.clone());
        self.errors.push(CompileError { entity, column, problem });
    }

    fn column(&mut self, target: &Target, fill: &Fill) -> Result<(), Problem> {
        let into = Wire::of_target(target);
        let op = match fill {
            Fill::Default { .. } => return Ok(()),
            Fill::User => self.user_key(&into, target)?,
            Fill::Column { column } => self.copy(column, &into, target)?,
            Fill::Map { column, map } => self.map(column, map.iter(), &into, target)?,
            Fill::Uuid5 { columns, namespace } => self.uuid5(columns, *namespace, &into, target)?,
            Fill::Json { fields } => self.json(fields, &into, target)?,
            Fill::Constant(value) => Op::Fixed(constant_of(value, &into, target)?.into()),
            Fill::Sequence { sequence, key } => self.sequence(sequence, key, &into, target)?,
            Fill::Rust { name, from } => self.rust(name, from, &into, target)?,
        };
        let element = Self::elements(&into, target)?;
        self.steps.push(Step { column: self.columns.len(), not_null: target.not_null, element, op });
        self.columns.push(target.name.clone());
        Ok(())
    }

    /// A canonical column's place and wire form.
    fn field(&self, column: &str) -> Result<(usize, Wire), Problem> {
        let field = self.layout.position(column).ok_or_else(|| Problem::NoSuchColumn(column.to_owned()))?;
        Ok((field, Wire::of_type(self.layout.columns()[field].ty)))
    }

    /// A canonical column's place and how it is spelled.
    fn spelled(&self, column: &str, fill: &'static str) -> Result<(usize, Speller), Problem> {
        let (field, wire) = self.field(column)?;
        let speller = Speller::of_wire(&wire).ok_or_else(|| unspellable(column, &wire, fill))?;
        Ok((field, speller))
    }

    fn user_key(&self, into: &Wire, target: &Target) -> Result<Op, Problem> {
        let unfit = || unfit(format!("the user's key, {}", self.user), target);
        let from = self.user.scalar().ok_or_else(unfit)?;
        Ok(Op::User(match (from, into.scalar().ok_or_else(unfit)?) {
            (from, into) if from == into => UserKey::Copy,
            (_, Scalar::Text) => UserKey::Spell(Speller::of_wire(&self.user).ok_or_else(unfit)?),
            (Scalar::Text, Scalar::Uuid) => UserKey::ParseUuid,
            (Scalar::Text, into) => UserKey::ParseInt(width(into).ok_or_else(unfit)?),
            (Scalar::Int8, into) => UserKey::Narrow(width(into).ok_or_else(unfit)?),
            _ => return Err(unfit()),
        }))
    }

    fn copy(&self, column: &str, into: &Wire, target: &Target) -> Result<Op, Problem> {
        let (field, from) = self.field(column)?;
        if from != *into {
            return Err(unfit(format!("{column}, {from},"), target));
        }
        Ok(if from.array { Op::Array { field } } else { Op::Run { first: field, count: 1 } })
    }

    /// How the destination numbers the element type of an array column.
    fn elements(into: &Wire, target: &Target) -> Result<Option<[u8; 4]>, Problem> {
        if !into.array {
            return Ok(None);
        }
        let element = element_oid(target).ok_or_else(|| Problem::ElementUnknown(target.type_name.clone()))?;
        Ok(Some(element.to_be_bytes()))
    }

    fn map<'m>(
        &self,
        column: &str,
        map: impl Iterator<Item = (&'m String, &'m Value)>,
        into: &Wire,
        target: &Target,
    ) -> Result<Op, Problem> {
        let (field, from) = self.field(column)?;
        let scalar = from.scalar().filter(|scalar| constant::can_be_key(*scalar));
        let scalar = scalar.ok_or_else(|| unspellable(column, &from, "a map"))?;
        let mut table = Table { entries: Vec::new(), null: None };
        for (key, value) in map {
            let value = constant_of(value, into, target)?;
            if key == "null" {
                table.null = Some(value);
                continue;
            }
            let wire = constant::key(key, scalar);
            let wire = wire.ok_or_else(|| Problem::BadKey { key: key.clone(), ty: from.to_string() })?;
            table.entries.push((wire, value));
        }
        if table.entries.is_empty() {
            return Err(Problem::Empty("the map"));
        }
        table.entries.sort();
        Ok(Op::Map { field, table: Arc::new(table) })
    }

    fn uuid5(
        &self,
        columns: &[String],
        namespace: Uuid,
        into: &Wire,
        target: &Target,
    ) -> Result<Op, Problem> {
        if into.scalar() != Some(Scalar::Uuid) {
            return Err(unfit("a uuid5".to_owned(), target));
        }
        if columns.is_empty() {
            return Err(Problem::Empty("the list of the uuid5's columns"));
        }
        let parts = columns.iter().map(|column| self.spelled(column, "a uuid5")).collect::<Result<_, _>>()?;
        Ok(Op::Uuid5 { namespace, parts })
    }

    fn json(&self, fields: &[(String, String)], into: &Wire, target: &Target) -> Result<Op, Problem> {
        let style = match into.scalar() {
            Some(Scalar::Json) => Style::Json,
            Some(Scalar::Jsonb) => Style::Jsonb,
            _ => return Err(unfit("a json object".to_owned(), target)),
        };
        if fields.is_empty() {
            return Err(Problem::Empty("the json object"));
        }
        let mut seen = BTreeSet::new();
        if let Some((twice, _)) = fields.iter().find(|(key, _)| !seen.insert(key)) {
            return Err(Problem::KeyTwice(twice.clone()));
        }
        let mut ordered: Vec<_> = fields.iter().collect();
        if style == Style::Jsonb {
            // The order in which a jsonb keeps its keys.
            ordered.sort_by_key(|(key, _)| (key.len(), key.as_bytes()));
        }
        let members =
            ordered.iter().enumerate().map(|(at, (key, column))| self.member(style, at, key, column, target));
        Ok(Op::Json { style, members: members.collect::<Result<_, _>>()? })
    }

    fn member(
        &self,
        style: Style,
        at: usize,
        key: &str,
        column: &str,
        target: &Target,
    ) -> Result<Member, Problem> {
        let (field, speller) = self.spelled(column, "a json object")?;
        let quoted = constant::json_key(key).map_err(|why| bad_value("a key", target, why))?;
        let open: &[u8] = if at == 0 { b"{" } else { b", " };
        let colon: &[u8] = if style == Style::Json { b" : " } else { b": " };
        Ok(Member { before: [open, &quoted, colon].concat(), field, speller })
    }

    fn sequence(&mut self, sequence: &str, key: &str, into: &Wire, target: &Target) -> Result<Op, Problem> {
        let width = into.scalar().and_then(width);
        let width = width.ok_or_else(|| unfit("a sequence's value".to_owned(), target))?;
        let (key_field, wire) = self.field(key)?;
        // The engine keeps the drawn value under the key's spelling.
        Speller::of_wire(&wire).ok_or_else(|| unspellable(key, &wire, "a sequence's key"))?;
        let slot = self.sequences.len();
        let (sequence, key) = (sequence.to_owned(), key.to_owned());
        self.sequences.push(SequenceColumn { column: self.columns.len(), sequence, key, key_field });
        Ok(Op::Sequence { slot, width })
    }

    fn rust(&self, name: &str, from: &[String], into: &Wire, target: &Target) -> Result<Op, Problem> {
        let transform = self.registry.get(name).ok_or_else(|| self.unregistered(name))?;
        let given = from.iter().map(|column| self.field(column)).collect::<Result<Vec<_>, _>>()?;
        let reads: Vec<Wire> = transform.inputs().into_iter().map(Wire::of_type).collect();
        if given.iter().map(|(_, wire)| wire).ne(&reads) {
            return Err(Problem::TransformInputs {
                name: name.to_owned(),
                reads: listed(reads.iter()),
                given: listed(given.iter().map(|(_, wire)| wire)),
            });
        }
        let output = Wire::of_type(transform.output());
        if output != *into {
            return Err(unfit(format!("what the transform {name} writes, {output},"), target));
        }
        let from = given.iter().map(|(field, _)| *field).collect();
        Ok(Op::Rust { transform: Arc::clone(transform), from })
    }

    fn unregistered(&self, name: &str) -> Problem {
        let registered = self.registry.names().collect::<Vec<_>>().join(", ");
        Problem::Unregistered { name: name.to_owned(), registered }
    }

    fn finish(mut self) -> Result<Transform, Vec<CompileError>> {
        if self.errors.is_empty() && self.columns.is_empty() {
            let entity = self.layout.name().to_owned();
            self.errors.push(CompileError { entity, column: String::new(), problem: Problem::NothingSent });
        }
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        Ok(Transform {
            entity: self.layout.name().to_owned(),
            fields: self.layout.columns().len(),
            columns: self.columns,
            sequences: self.sequences,
            required: required(&self.steps),
            steps: joined(&self.steps),
            single: self.steps,
        })
    }
}

/// Fields that go as they are into columns that are NOT NULL.
fn required(steps: &[Step]) -> Vec<(usize, usize)> {
    let plain = |step: &Step| match step.op {
        Op::Run { first, .. } if step.not_null => Some((first, step.column)),
        _ => None,
    };
    steps.iter().filter_map(plain).collect()
}

/// The steps with each run of plain columns that lie side by side in row and table made one.
fn joined(single: &[Step]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::with_capacity(single.len());
    for step in single {
        if let Some(Step { op: Op::Run { first, count }, .. }) = steps.last_mut()
            && let Op::Run { first: next, .. } = step.op
            && *first + *count == next
        {
            *count += 1;
            continue;
        }
        steps.push(step.clone());
    }
    steps
}

fn constant_of(value: &Value, into: &Wire, target: &Target) -> Result<Vec<u8>, Problem> {
    constant::encode(value, into, element_oid(target)).map_err(|why| bad_value(value.kind(), target, why))
}

/// Bytes of an integer type.
fn width(scalar: Scalar) -> Option<usize> {
    match scalar {
        Scalar::Int2 => Some(2),
        Scalar::Int4 => Some(4),
        Scalar::Int8 => Some(8),
        _ => None,
    }
}

fn unfit(from: String, target: &Target) -> Problem {
    Problem::Unfit { from, into: target.type_name.clone() }
}

fn unspellable(column: &str, wire: &Wire, fill: &'static str) -> Problem {
    Problem::Unspellable { column: column.to_owned(), ty: wire.to_string(), fill }
}

fn bad_value(given: &'static str, target: &Target, why: String) -> Problem {
    Problem::BadValue { given, into: target.type_name.clone(), why }
}

fn listed<'w>(wires: impl Iterator<Item = &'w Wire>) -> String {
    wires.map(Wire::to_string).collect::<Vec<_>>().join(", ")
}
