//! The list of crash points, held against the source.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use handover_fault::POINTS;

/// Every `.rs` file below a folder, in which points stand: not this crate's own, which explain and try them.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["tests", "fault", "target"].contains(&name.as_str()) {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names that a source passes or hands on.
fn points(source: &str) -> impl Iterator<Item = String> {
    let after = |word: &str| -> Vec<String> {
        let rest = source.split(word).skip(1);
        rest.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
    };
    after(" point(\"").into_iter().chain(after("named(\""))
}

#[test]
fn every_point_in_the_source_is_listed_once_and_every_listed_point_is_in_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    sources(&root.join("crates"), &mut files);
    sources(&root.join("workers"), &mut files);
    let mut stands: BTreeMap<String, usize> = BTreeMap::new();
    for file in files {
        for name in points(&std::fs::read_to_string(file).unwrap()) {
            *stands.entry(name).or_default() += 1;
        }
    }
    let unlisted: Vec<&String> = stands.keys().filter(|name| !POINTS.contains(&name.as_str())).collect();
    assert!(unlisted.is_empty(), "not in POINTS (crates/fault/src/points.rs): {unlisted:?}");
    let gone: Vec<&&str> = POINTS.iter().filter(|name| !stands.contains_key(**name)).collect();
    assert!(gone.is_empty(), "in POINTS, and in no source: {gone:?}");
    let mut sorted = POINTS.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), POINTS.len(), "a point is listed twice");
    for name in POINTS {
        let parts: Vec<&str> = name.split('.').collect();
        let is_word = |part: &&str| part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(parts.len() == 2 && parts.iter().all(is_word), "{name} is not of the form stage.moment");
    }
}
