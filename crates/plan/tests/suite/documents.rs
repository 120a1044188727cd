//! `docs/plans.md` says what is so: its tutorial is the plan that the other tests check, its table of findings
//! is complete.

use handover_plan::{Code, Plan};

use crate::common::blog;
use crate::live::LOAD;

fn document() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/plans.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_file_of_the_tutorial_is_in_the_document_as_it_is_tested() {
    let document = document();
    for (name, text) in blog() {
        assert!(document.contains(text.trim()), "docs/plans.md does not hold tests/blog/plan/{name}");
    }
    for text in [include_str!("../blog/legacy.sql"), include_str!("../blog/destination.sql")] {
        assert!(document.contains(text.trim()), "docs/plans.md does not hold the tutorial's schema");
    }
    assert!(document.contains(LOAD), "docs/plans.md does not hold the load that is tested");
    assert!(Plan::from_files(blog()).is_ok());
}

#[test]
fn every_kind_of_finding_has_its_row_in_the_document() {
    let document = document();
    for code in Code::ALL {
        assert!(document.contains(&format!("| `{code}` |")), "docs/plans.md does not list `{code}`");
    }
}
