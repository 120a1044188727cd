//! The models are explored in full, and each safeguard is shown to be needed.

#![expect(clippy::print_stdout, reason = "figures for whoever asks with --nocapture")]

use handover_model::{MUTANTS, SETUPS, Safeguard, Setup, Size, setup};

fn holds(setup: &Setup) {
    let explored = setup.explore(None, None);
    println!("{}: {} states, {} steps, {:?}", setup.name, explored.states, explored.steps, explored.took);
    for (property, way) in &explored.broken {
        println!("{property}: not after\n  {}", way.join("\n  "));
    }
    assert!(explored.broken.is_empty(), "{}: a property is broken, see above", setup.name);
    assert!(explored.unreached.is_empty(), "{}: never {:?}", setup.name, explored.unreached);
}

#[test]
fn with_all_safeguards_every_property_holds_in_every_state() {
    // `cargo x test --full` sets it.
    let everything = std::env::var_os("HANDOVER_TEST_FULL").is_some();
    for setup in SETUPS.iter().filter(|setup| everything || setup.size == Size::Small) {
        holds(setup);
    }
}

#[test]
fn without_any_one_safeguard_a_property_is_broken() {
    for mutant in MUTANTS {
        let setup = setup(mutant.setup).expect("a setup of that name");
        let explored = setup.explore(Some(mutant.without), Some(mutant.breaks));
        println!("without {:?}: {} states, {:?}", mutant.without, explored.states, explored.took);
        assert!(explored.breaks(mutant.breaks), "{:?} is not needed for: {}", mutant.without, mutant.breaks);
    }
}

#[test]
fn each_safeguard_has_one_mutant_and_a_row_in_the_documentation() {
    let page = include_str!("../../../docs/model.md");
    for (number, mutant) in MUTANTS.iter().enumerate() {
        let is_same = |other: &Safeguard| *other == mutant.without;
        assert_eq!(MUTANTS.iter().position(|other| is_same(&other.without)), Some(number));
        let row = format!("| `{:?}` | {} | {} |", mutant.without, mutant.setup, mutant.breaks);
        assert!(page.contains(&row), "docs/model.md lacks the row: {row}");
    }
    for setup in SETUPS {
        assert!(
            page.contains(&format!("| `{}` |", setup.name)),
            "docs/model.md does not name {}",
            setup.name
        );
    }
}
