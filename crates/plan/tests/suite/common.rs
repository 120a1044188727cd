//! The blog plan of `docs/plans.md` as files in memory, and edits of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder of the plan.
pub(crate) fn blog_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/blog/plan")
}

/// The plan's files by name.
pub(crate) fn blog() -> BTreeMap<String, String> {
    std::fs::read_dir(blog_folder())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let text = std::fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        })
        .collect()
}

/// An edit: file, the text that is there once, and what it becomes. An empty first text stands for a new file.
pub(crate) type Edit<'e> = (&'e str, &'e str, &'e str);

/// The files with the edits made.
pub(crate) fn edited(edits: &[Edit<'_>]) -> BTreeMap<String, String> {
    let mut files = blog();
    for (file, from, to) in edits {
        let text = files.entry((*file).to_owned()).or_default();
        if from.is_empty() {
            (*to).clone_into(text);
        } else {
            assert!(text.contains(from), "{file} does not hold {from:?}");
            *text = text.replacen(from, to, 1);
        }
    }
    files
}

/// The line of a text, from 1; empty where there is none.
pub(crate) fn line(text: &str, number: u32) -> &str {
    text.lines().nth(number as usize - 1).unwrap_or_default()
}
