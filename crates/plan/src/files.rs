//! From a folder, or from files in memory, to a plan. It reads the files that plan.toml names and no other:
//! nothing outside the folder, nothing larger than the limit, nothing that is no regular file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path};

use crate::document::{Spot, shown};
use crate::finding::{Code, Findings, Place, PlanErrors};
use crate::limits::MAX_FILE_BYTES;
use crate::parse::{RawPlan, parse};
use crate::plan::{PLAN_FILE, Plan};
use crate::validate::validate;

/// Why a file cannot be had: what is wrong, and what to do.
struct Unreadable {
    what: String,
    remedy: &'static str,
}

impl Unreadable {
    fn new(what: impl Into<String>, remedy: &'static str) -> Self {
        Self { what: what.into(), remedy }
    }
}

type Fetch<'f> = &'f dyn Fn(&str) -> Result<String, Unreadable>;

/// Reads the plan in `folder`.
pub(crate) fn load(folder: &Path) -> Result<Plan, PlanErrors> {
    assemble(&|name| read(folder, name))
}

/// Reads the plan out of `files`.
pub(crate) fn from_memory(files: BTreeMap<String, String>) -> Result<Plan, PlanErrors> {
    assemble(&move |name| {
        let remedy = "add it to the plan's files, or correct the name";
        let content = files.get(name).ok_or_else(|| Unreadable::new("the file is not there", remedy))?;
        check_content(content.clone())
    })
}

fn assemble(fetch: Fetch<'_>) -> Result<Plan, PlanErrors> {
    let mut findings = Findings::default();
    let text = match fetch(PLAN_FILE) {
        Ok(text) => text,
        Err(Unreadable { what, remedy }) => {
            findings.error(Code::BadFile, &Place::top(PLAN_FILE), what, remedy);
            return Err(PlanErrors::new(findings));
        }
    };
    let raw = parse(PLAN_FILE, &text, &mut findings);
    let mut files = fetch_all(&raw, fetch, &mut findings);
    let plan = validate(raw, &files, &mut findings);
    findings.drop_echoes();
    match plan {
        Some(mut plan) if findings.is_empty() => {
            files.insert(PLAN_FILE.to_owned(), text);
            plan.files = files;
            Ok(plan)
        }
        _ => Err(PlanErrors::new(findings)),
    }
}

/// The SQL files that the plan names, as far as they can be read.
fn fetch_all(raw: &RawPlan, fetch: Fetch<'_>, findings: &mut Findings) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entity in &raw.entities {
        let names = [&entity.extract, &entity.read_back, &entity.delete, &entity.reverse, &entity.load];
        for Spot { value: name, place } in names.into_iter().flatten() {
            if files.contains_key(name) {
                continue;
            }
            match check_name(name).and_then(|()| fetch(name)) {
                Ok(content) => drop(files.insert(name.clone(), content)),
                Err(Unreadable { what, remedy }) => {
                    let what = format!("`{}`: {what}", shown(name));
                    findings.error(Code::BadFile, place, what, remedy);
                }
            }
        }
    }
    files
}

/// A name that stays within the folder whatever the folder is.
fn check_name(name: &str) -> Result<(), Unreadable> {
    let plain = !name.is_empty()
        && name.len() <= 255
        && !name.contains('\\')
        && !name.chars().any(char::is_control)
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if !plain {
        let remedy =
            "name a file inside the plan's folder, as in \"post.extract.sql\" or \"sql/post.extract.sql\"";
        return Err(Unreadable::new("not a path inside the plan's folder", remedy));
    }
    if name == PLAN_FILE {
        return Err(Unreadable::new("the plan itself is no SQL", "name a file that holds SQL"));
    }
    Ok(())
}

fn read(folder: &Path, name: &str) -> Result<String, Unreadable> {
    let folder = folder.canonicalize().map_err(|error| {
        Unreadable::new(format!("the plan's folder cannot be opened: {error}"), "name an existing folder")
    })?;
    let path = folder.join(name).canonicalize().map_err(|error| {
        Unreadable::new(
            format!("the file cannot be opened: {error}"),
            "create it, or correct the name; names are relative to the plan's folder",
        )
    })?;
    if !path.starts_with(&folder) {
        let remedy = "copy the file into the folder: the plan is kept, hashed and sent as a whole";
        return Err(Unreadable::new("a link leads out of the plan's folder", remedy));
    }
    // A pipe or a device would block or never end.
    if !path.is_file() {
        return Err(Unreadable::new("not a regular file", "put a file in its place"));
    }
    let mut bytes = Vec::new();
    File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)).map_err(
        |error| Unreadable::new(format!("the file cannot be read: {error}"), "look at its owner and mode"),
    )?;
    let text =
        String::from_utf8(bytes).map_err(|_| Unreadable::new("the file is not UTF-8", "save it as UTF-8"))?;
    check_content(text)
}

fn check_content(text: String) -> Result<String, Unreadable> {
    if text.len() > MAX_FILE_BYTES {
        return Err(Unreadable::new("the file is longer than 1 MiB", "divide it; a plan holds no data"));
    }
    if text.trim().is_empty() {
        return Err(Unreadable::new("the file is empty", "write its content, or remove the key"));
    }
    if text.contains('\0') {
        return Err(Unreadable::new("the file holds a NUL character", "save it as plain UTF-8 text"));
    }
    if text.starts_with('\u{feff}') {
        return Err(Unreadable::new(
            "the file begins with a byte order mark",
            "save it as UTF-8 without a byte order mark",
        ));
    }
    Ok(text)
}
