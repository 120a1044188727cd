//! Who may depend on whom among the workspace's crates, checked on normal dependencies.
//!
//! Dev-dependencies are free: a test may use a real server from any crate.

use std::collections::{BTreeSet, VecDeque};

use crate::metadata::Graph;

/// How far a rule looks.
enum Reach {
    /// What the crate's own manifest names.
    Direct,
    /// That, and whatever it brings along.
    Whole,
}

struct Rule {
    package: &'static str,
    never: &'static [&'static str],
    reach: Reach,
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        package: "handover-canonical",
        never: &["tokio", "tokio-postgres", "redis"],
        reach: Reach::Whole,
        why: "canonical rows and digests do no I/O",
    },
    Rule {
        package: "handover-transform",
        never: &["tokio", "tokio-postgres", "redis"],
        reach: Reach::Whole,
        why: "transforms do no I/O",
    },
    Rule {
        package: "handover-queue",
        never: &[
            "tokio-postgres",
            "handover-postgres",
            "handover-tracking",
            "handover-identity",
            "handover-plan",
            "handover-engine",
        ],
        reach: Reach::Whole,
        why: "the queue knows neither Postgres nor users",
    },
    Rule {
        package: "handover-engine",
        never: &["handover-queue", "handover-producer", "handover-worker"],
        reach: Reach::Whole,
        why: "the engine knows no queue; the worker alone joins the two",
    },
    Rule {
        package: "handover-engine",
        never: &["redis", "deadpool-redis"],
        reach: Reach::Direct,
        why: "the engine does not know Redis; Identity keeps its own mirror",
    },
    Rule {
        package: "handover-plan",
        never: &["handover-tracking", "handover-identity", "handover-engine", "redis"],
        reach: Reach::Whole,
        why: "a plan says what moves, not who or when",
    },
    Rule {
        package: "handover-tracking",
        never: &["handover-plan", "handover-engine", "handover-identity", "redis"],
        reach: Reach::Whole,
        why: "tracking keeps attempts and decides nothing",
    },
    Rule {
        package: "handover-identity",
        never: &["handover-plan", "handover-tracking", "handover-engine", "handover-queue"],
        reach: Reach::Whole,
        why: "Identity is a leaf, so that an application can depend on it alone",
    },
    Rule {
        package: "handover-gate",
        never: &[
            "handover-plan",
            "handover-tracking",
            "handover-engine",
            "handover-queue",
            "handover-worker",
        ],
        reach: Reach::Whole,
        why: "a gate lives in an application, and knows Identity only",
    },
    Rule {
        package: "handover-invoicing",
        never: &[
            "handover-plan",
            "handover-tracking",
            "handover-engine",
            "handover-queue",
            "handover-worker",
        ],
        reach: Reach::Whole,
        why: "the example's application knows a gate, and not how users are moved",
    },
];

/// The crates that may carry the throw-away servers: the tool that offers `demo`, the ledger, the benches, and the tests.
const MAY_USE_SANDBOX: [&str; 4] = ["handover-bench", "handover-cli", "handover-ledger", "handover-tests"];

/// What the tasks themselves may be built from, since `cargo demo` builds them first.
const MAY_BE_IN_XTASK: [&str; 4] = ["anyhow", "clap", "serde", "serde_json"];

/// Every breach of the rules, one sentence each.
pub(crate) fn breaches(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for rule in RULES {
        let reached = match rule.reach {
            Reach::Direct => graph.get(rule.package).cloned().unwrap_or_default(),
            Reach::Whole => closure(graph, rule.package),
        };
        for target in rule.never.iter().filter(|target| reached.contains(**target)) {
            found.push(format!("{} must not depend on {target}: {}", rule.package, rule.why));
        }
    }
    for (package, direct) in graph {
        if direct.contains("handover-sandbox") && !MAY_USE_SANDBOX.contains(&package.as_str()) {
            found.push(format!(
                "{package} must not depend on handover-sandbox: servers for demo, ledger, benches and tests only"
            ));
        }
    }
    let own = graph.get("handover-xtask").into_iter().flatten();
    for target in own.filter(|target| !MAY_BE_IN_XTASK.contains(&target.as_str())) {
        found.push(format!("handover-xtask must not depend on {target}: `cargo demo` builds it first"));
    }
    found
}

fn closure(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = VecDeque::from([from]);
    while let Some(package) = open.pop_front() {
        for next in graph.get(package).into_iter().flatten() {
            if reached.insert(next.clone()) {
                open.push_back(next);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    }

    fn only_breach(edges: &[(&str, &str)]) -> String {
        let mut found = breaches(&graph(edges));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn every_rule_is_tripped_by_each_crate_it_forbids() {
        for rule in RULES {
            for target in rule.never {
                let found = breaches(&graph(&[(rule.package, target)]));
                assert!(found.iter().any(|breach| breach.contains(target)), "{}: {found:?}", rule.package);
            }
        }
    }

    #[test]
    fn a_forbidden_crate_behind_another_is_found() {
        let breach = only_breach(&[("handover-queue", "helper"), ("helper", "tokio-postgres")]);
        assert!(breach.starts_with("handover-queue must not depend on tokio-postgres"), "{breach}");
    }

    #[test]
    fn the_engine_may_reach_redis_through_identity_only() {
        assert!(
            breaches(&graph(&[("handover-engine", "handover-identity"), ("handover-identity", "redis")]))
                .is_empty()
        );
        only_breach(&[("handover-engine", "redis")]);
    }

    #[test]
    fn the_sandbox_is_for_the_tool_and_the_tests() {
        assert!(breaches(&graph(&[("handover-cli", "handover-sandbox")])).is_empty());
        only_breach(&[("handover-worker", "handover-sandbox")]);
    }

    #[test]
    fn the_tasks_stay_small() {
        assert!(breaches(&graph(&[("handover-xtask", "clap"), ("clap", "anything")])).is_empty());
        only_breach(&[("handover-xtask", "tokio")]);
    }
}
