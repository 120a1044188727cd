//! What `cargo metadata` tells of the workspace: where it lies, its packages, and who depends on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cargo;

/// The workspace and, where asked for, everything it depends on.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_root: PathBuf,
    pub(crate) target_directory: PathBuf,
    resolve: Option<Resolve>,
}

/// One package at one version.
#[derive(Deserialize)]
pub(crate) struct Package {
    id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// Where it was fetched from; none for a package of the workspace.
    pub(crate) source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// `dev`, `build`, or none for a normal dependency.
    kind: Option<String>,
}

/// Package name → names of its direct normal dependencies.
pub(crate) type Graph = BTreeMap<String, BTreeSet<String>>;

impl Metadata {
    /// The workspace alone, without asking a registry.
    pub(crate) fn of_workspace() -> Result<Self> {
        Self::load(&["--no-deps"])
    }

    /// The workspace and all dependencies that are built on this kind of machine, exactly as locked.
    pub(crate) fn with_dependencies() -> Result<Self> {
        Self::load(&["--locked", "--filter-platform", &host()?])
    }

    fn load(arguments: &[&str]) -> Result<Self> {
        let json = cargo::output(cargo::cargo().args(["metadata", "--format-version", "1"]).args(arguments))?;
        serde_json::from_slice(&json).context("failed to read what cargo metadata printed")
    }

    /// Packages of other people that are built on this platform.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = &Package> {
        let built: BTreeSet<&str> = self.nodes().iter().map(|node| node.id.as_str()).collect();
        self.packages
            .iter()
            .filter(move |package| package.source.is_some() && built.contains(package.id.as_str()))
    }

    /// Who needs whom at run time. Versions of one name count as one, which errs on the strict side.
    pub(crate) fn normal_dependencies(&self) -> Graph {
        let names: BTreeMap<&str, &str> =
            self.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
        let mut graph = Graph::new();
        for node in self.nodes() {
            let normal = node.deps.iter().filter(|dependency| dependency.is_normal());
            let to =
                normal.filter_map(|dependency| names.get(dependency.pkg.as_str()).map(ToString::to_string));
            if let Some(name) = names.get(node.id.as_str()) {
                graph.entry((*name).to_owned()).or_default().extend(to);
            }
        }
        graph
    }

    fn nodes(&self) -> &[Node] {
        self.resolve.as_ref().map_or(&[], |resolve| &resolve.nodes)
    }
}

impl Dependency {
    fn is_normal(&self) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.is_none())
    }
}

fn host() -> Result<String> {
    let text = String::from_utf8(cargo::output(Command::new("rustc").arg("-vV"))?)?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).context("rustc -vV names no host")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_PACKAGES: &str = r#"{
        "packages": [
            {"id": "a 1", "name": "a", "version": "1.0.0", "license": "MIT", "source": null},
            {"id": "b 1", "name": "b", "version": "1.0.0", "license": null, "source": "registry"},
            {"id": "c 1", "name": "c", "version": "1.0.0", "license": "MIT", "source": "registry"}
        ],
        "workspace_root": "/w", "target_directory": "/w/target",
        "resolve": {"nodes": [
            {"id": "a 1", "deps": [
                {"pkg": "b 1", "dep_kinds": [{"kind": "dev"}, {"kind": null}]},
                {"pkg": "c 1", "dep_kinds": [{"kind": "dev"}]}
            ]},
            {"id": "b 1", "deps": []}
        ]}
    }"#;

    #[test]
    fn only_normal_dependencies_are_edges_and_only_built_packages_are_foreign() {
        let metadata: Metadata = serde_json::from_str(TWO_PACKAGES).unwrap();
        let graph = metadata.normal_dependencies();
        assert_eq!(graph["a"], BTreeSet::from(["b".to_owned()]));
        assert_eq!(metadata.foreign().map(|package| package.name.as_str()).collect::<Vec<_>>(), ["b"]);
    }
}
