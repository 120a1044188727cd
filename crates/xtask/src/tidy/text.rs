//! Rules for every text file: whitespace, leftover markers, paths of one machine.

use super::functions::{line_of, words};
use super::mask::{is_word, mask};
use super::{File, Finding, has_extension};

/// Words that mark something unfinished.
const MARKERS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Top folders that hold a person's or a machine's own files.
const OWN_FOLDERS: [&str; 4] = ["home", "root", "work", "Users"];

/// All findings of one file.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut found = markers(file);
    for (index, line) in file.text.split('\n').enumerate() {
        let number = index + 1;
        if line.ends_with([' ', '\t', '\r']) {
            found.push(Finding::new(&file.path, number, "whitespace at the end of the line"));
        }
        if line.contains('\t') {
            found.push(Finding::new(&file.path, number, "tab"));
        }
        if let Some(path) = own_path(line) {
            found.push(Finding::new(&file.path, number, format!("path of one machine: {path}")));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        found.push(Finding::new(
            &file.path,
            file.text.lines().count(),
            "no line break at the end of the file",
        ));
    }
    found
}

/// Leftover markers: in the comments of Rust, anywhere in other files but prose, which may speak of them.
fn markers(file: &File) -> Vec<Finding> {
    if has_extension(&file.path, "md") {
        return Vec::new();
    }
    let text = if has_extension(&file.path, "rs") { mask(&file.text).comments } else { file.text.clone() };
    let mut found = Vec::new();
    for marker in MARKERS {
        let lines = words(&text, marker).map(|at| line_of(&text, at));
        found.extend(lines.map(|line| Finding::new(&file.path, line, format!("{marker} may not stay"))));
    }
    found
}

/// The first absolute path of a line that leads into somebody's own folder, or into `/tmp` under a name not ours.
fn own_path(line: &str) -> Option<&str> {
    let starts = line.match_indices('/').map(|(at, _)| at);
    let absolute = starts
        .filter(|at| !line[..*at].ends_with(|before: char| is_word(before) || ".-/}>)~$*".contains(before)));
    absolute.map(|at| path_at(&line[at..])).find(|path| is_own(path))
}

fn path_at(text: &str) -> &str {
    let end =
        text.find(|character: char| !is_word(character) && !"/.-".contains(character)).unwrap_or(text.len());
    &text[..end]
}

fn is_own(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some("tmp"), Some(name)) => !name.is_empty() && !name.starts_with("handover"),
        (Some(top), _) => OWN_FOLDERS.contains(&top),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&file).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn whitespace_is_found_where_it_cannot_be_seen() {
        assert_eq!(messages("a.sql", "one \ntwo\n"), ["a.sql:1: whitespace at the end of the line"]);
        assert_eq!(messages("a.sql", "one\r\n"), ["a.sql:1: whitespace at the end of the line"]);
        assert_eq!(messages("a.sql", "\tone\n"), ["a.sql:1: tab"]);
        assert_eq!(messages("a.sql", "one\ntwo"), ["a.sql:2: no line break at the end of the file"]);
    }

    #[test]
    fn every_marker_is_found_in_comments_and_scripts() {
        for marker in MARKERS {
            let expected = [format!("a.rs:1: {marker} may not stay")];
            assert_eq!(messages("a.rs", &format!("// {marker}: later\n")), expected);
            assert_eq!(messages("a.rs", &format!("const A: &str = \"{marker}\";\n")), Vec::<String>::new());
            assert_eq!(
                messages("a.sh", &format!("# {marker}\n")),
                [format!("a.sh:1: {marker} may not stay")]
            );
            assert_eq!(messages("a.md", &format!("We leave no {marker}.\n")), Vec::<String>::new());
            assert_eq!(messages("a.sh", &format!("# A{marker}S\n")), Vec::<String>::new());
        }
    }

    #[test]
    fn a_path_into_someones_own_folder_is_found() {
        for folder in OWN_FOLDERS {
            let path = format!("/{folder}/main");
            assert_eq!(
                messages("a.toml", &format!("dir = \"{path}\"\n")),
                [format!("a.toml:1: path of one machine: {path}")]
            );
        }
        let path = ["", "tmp", "mine.log"].join("/");
        assert_eq!(
            messages("a.sh", &format!("cat {path}\n")),
            [format!("a.sh:1: path of one machine: {path}")]
        );
    }

    #[test]
    fn addresses_relative_paths_and_our_own_temporary_files_pass() {
        for line in [
            "https://example.org/home/page",
            "src/work/a.rs",
            "/tmp/handover-1",
            "tmpfs: /tmp",
            "/workers",
            "${D}/root/x",
        ] {
            assert_eq!(messages("a.yml", &format!("{line}\n")), Vec::<String>::new());
        }
    }
}
