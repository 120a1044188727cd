//! Licences and duplicate versions of what we depend on, judged from `cargo metadata`.
//!
//! Known security advisories are not looked up here: that needs a data base of its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::metadata::Package;

/// SPDX licences that may be shipped inside a program under `MIT OR Apache-2.0`.
const ALLOWED: [&str; 9] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "Unicode-3.0",
    "Zlib",
];

/// Packages that may be there in several versions, each with the reason.
const DUPLICATES: [(&str, &str); 6] = [
    ("const-oid", "tokio-postgres-rustls reads certificates with a release older than sha2's"),
    ("getrandom", "ring, our own key blocks and tokio-postgres' rand each use another release"),
    ("hashbrown", "the Prometheus exporter uses one itself and one through indexmap"),
    ("rand", "the Prometheus exporter is a release behind tokio-postgres"),
    ("rand_core", "as rand"),
    ("syn", "derive macros, at build time only"),
];

/// Every package whose licence is missing or not on the list.
pub(crate) fn refused<'a>(packages: impl Iterator<Item = &'a Package>) -> Vec<String> {
    let judge = |package: &Package| match &package.license {
        None => Some(format!("{} {} states no SPDX licence", package.name, package.version)),
        Some(licence) if allowed(licence) => None,
        Some(licence) => Some(format!("{} {} is under {licence}", package.name, package.version)),
    };
    packages.filter_map(judge).collect()
}

/// Every package that is there more than once without a reason, and every reason that is no longer needed.
pub(crate) fn duplicates<'a>(packages: impl Iterator<Item = &'a Package>) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let known: BTreeSet<&str> = DUPLICATES.iter().map(|(name, _)| *name).collect();
    let unknown = versions.iter().filter(|(name, _)| !known.contains(**name)).map(|(name, versions)| {
        let versions: Vec<_> = versions.iter().copied().collect();
        format!("{name} is there as {}: settle on one, or list it with its reason", versions.join(" and "))
    });
    let stale = known.iter().filter(|name| !versions.contains_key(**name));
    unknown
        .chain(stale.map(|name| format!("{name} is there once: take it off the list of duplicates")))
        .collect()
}

/// Whether an SPDX expression can be satisfied by allowed licences alone. `/` is the old spelling of `OR`.
fn allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Expression { words: &words, next: 0 };
    parser.any() == Some(true) && parser.next == words.len()
}

/// Reads `OR` of `AND` of licence or parenthesis; none where the text is not such an expression.
struct Expression<'a> {
    words: &'a [&'a str],
    next: usize,
}

impl Expression<'_> {
    fn any(&mut self) -> Option<bool> {
        let mut result = self.all()?;
        while self.take("OR") {
            result |= self.all()?;
        }
        Some(result)
    }

    fn all(&mut self) -> Option<bool> {
        let mut result = self.one()?;
        while self.take("AND") {
            result &= self.one()?;
        }
        Some(result)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let inner = self.any()?;
            return self.take(")").then_some(inner);
        }
        let licence = *self.words.get(self.next)?;
        self.next += 1;
        if !self.take("WITH") {
            return Some(ALLOWED.contains(&licence));
        }
        let exception = *self.words.get(self.next)?;
        self.next += 1;
        Some(ALLOWED.contains(&format!("{licence} WITH {exception}").as_str()))
    }

    fn take(&mut self, word: &str) -> bool {
        let there = self.words.get(self.next) == Some(&word);
        self.next += usize::from(there);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, license: Option<&str>) -> Package {
        let json = serde_json::json!({"id": name, "name": name, "version": version, "license": license, "source": "r"});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_expression_is_allowed_if_some_way_through_it_is() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "MIT OR LGPL-2.1-or-later",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "GPL-3.0 WITH LLVM-exception",
            "(MIT",
            "MIT OR",
            "MIT)",
            "",
            "MIT MIT",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn a_missing_and_a_foreign_licence_are_refused_by_name() {
        let packages = [
            package("a", "1.0.0", None),
            package("b", "2.0.0", Some("AGPL-3.0")),
            package("c", "1.0.0", Some("MIT")),
        ];
        assert_eq!(refused(packages.iter()), ["a 1.0.0 states no SPDX licence", "b 2.0.0 is under AGPL-3.0"]);
    }

    #[test]
    fn a_new_duplicate_and_a_stale_reason_are_both_told() {
        let packages =
            [package("new", "1.0.0", None), package("new", "2.0.0", None), package("syn", "2.0.0", None)];
        let found = duplicates(packages.iter());
        assert_eq!(found[0], "new is there as 1.0.0 and 2.0.0: settle on one, or list it with its reason");
        assert!(found.contains(&"syn is there once: take it off the list of duplicates".to_owned()));
    }
}
