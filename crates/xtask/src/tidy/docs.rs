//! Rules for the documentation: each page is reachable from the README, and links lead somewhere.
//!
//! Links to other sites are not followed.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, Finding, has_extension};

/// All findings over the project's Markdown files.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let pages: Vec<&File> = files.iter().filter(|file| has_extension(&file.path, "md")).collect();
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        pages.iter().map(|page| (page.path.as_str(), headings(&page.text))).collect();
    let mut found = unreferenced(&pages);
    for page in &pages {
        for link in links(&page.text) {
            found.extend(broken(page, &link, &paths, &anchors));
        }
    }
    found
}

/// A relative link and the line it stands on.
struct Link {
    line: usize,
    target: String,
}

fn unreferenced(pages: &[&File]) -> Vec<Finding> {
    let readme = pages.iter().find(|page| page.path == "README.md");
    let linked: BTreeSet<String> = readme
        .map(|page| {
            links(&page.text).into_iter().map(|link| without_anchor(&link.target).to_owned()).collect()
        })
        .unwrap_or_default();
    let docs = pages.iter().filter(|page| page.path.starts_with("docs/") && !linked.contains(&page.path));
    docs.map(|page| Finding::new(&page.path, 0, "is not linked from README.md")).collect()
}

fn broken(
    page: &File,
    link: &Link,
    paths: &BTreeSet<&str>,
    anchors: &BTreeMap<&str, BTreeSet<String>>,
) -> Option<Finding> {
    let finding = |what: &str| Some(Finding::new(&page.path, link.line, format!("{what}: {}", link.target)));
    let path = resolve(&page.path, without_anchor(&link.target));
    let folder = format!("{path}/");
    if !paths.contains(path.as_str()) && !paths.iter().any(|known| known.starts_with(&folder)) {
        return finding("link to a file that is not there");
    }
    let (_, anchor) = link.target.split_once('#')?;
    match anchors.get(path.as_str()) {
        Some(known) if !known.contains(anchor) => finding("link to a heading that is not there"),
        _ => None,
    }
}

fn without_anchor(target: &str) -> &str {
    target.split('#').next().unwrap_or_default()
}

/// The path from the root that a link on `page` leads to; an empty target is the page itself.
fn resolve(page: &str, target: &str) -> String {
    if target.is_empty() {
        return page.to_owned();
    }
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Every link that stays within the project, those in code apart.
fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (line, prose) in prose(text) {
        let inline = prose.match_indices("](").map(|(at, _)| &prose[at + 2..]);
        let targets = inline.filter_map(|rest| rest.find([')', ' ']).map(|end| rest[..end].to_owned()));
        let reference = prose.starts_with('[').then(|| prose.split_once("]: ")).flatten();
        let all = targets.chain(reference.map(|(_, target)| target.trim().to_owned()));
        let ours = all.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
        found.extend(ours.map(|target| Link { line, target }));
    }
    found
}

/// The names under which a page's headings can be linked, as the usual renderers make them.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = fenced(text).into_iter().filter(|(_, line, fence)| !fence && line.starts_with('#'));
    titles.map(|(_, line, _)| slug(line.trim_start_matches('#').trim())).collect()
}

fn slug(title: &str) -> String {
    let kept = title.chars().filter(|character| character.is_alphanumeric() || " -_".contains(*character));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The lines outside of code blocks, with inline code blanked.
fn prose(text: &str) -> Vec<(usize, String)> {
    let lines = fenced(text).into_iter().filter(|(_, _, fence)| !fence);
    lines
        .map(|(number, line, _)| {
            let parts = line.split('`').enumerate();
            let outside = parts.map(|(index, part)| if index % 2 == 0 { part } else { "code" });
            (number, outside.collect::<String>())
        })
        .collect()
}

/// Each line with its number, and whether it belongs to a code block.
fn fenced(text: &str) -> Vec<(usize, &str, bool)> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().starts_with("```");
        lines.push((index + 1, line, inside || fence));
        inside ^= fence;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        check(&files.iter().map(file).collect::<Vec<_>>()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_page_that_the_readme_does_not_link_is_found() {
        let found =
            messages(&[("README.md", "[a](docs/a.md#one)\n"), ("docs/a.md", "# One\n"), ("docs/b.md", "")]);
        assert_eq!(found, ["docs/b.md: is not linked from README.md"]);
    }

    #[test]
    fn a_link_to_a_missing_file_is_found_with_its_line() {
        let found = messages(&[("README.md", "\n[x](docs/x.md) and ![y](y.png)\n[z]: z.md\n")]);
        assert_eq!(
            found,
            [
                "README.md:2: link to a file that is not there: docs/x.md",
                "README.md:2: link to a file that is not there: y.png",
                "README.md:3: link to a file that is not there: z.md",
            ]
        );
    }

    #[test]
    fn links_are_resolved_from_the_page_they_stand_on() {
        let page = (
            "docs/a.md",
            "[up](../README.md) [folder](../config/) [self](#a-b) [site](https://example.org)\n# A, b\n",
        );
        assert_eq!(
            messages(&[("README.md", "[a](docs/a.md)\n"), page, ("config/x.toml", "")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_link_to_a_missing_heading_is_found() {
        let found = messages(&[("README.md", "# Here\n[a](#there)\n")]);
        assert_eq!(found, ["README.md:2: link to a heading that is not there: #there"]);
    }

    #[test]
    fn code_is_no_link() {
        assert!(messages(&[("README.md", "`[a](b)`\n```\n[c](d)\n# not a heading\n```\n")]).is_empty());
    }
}
