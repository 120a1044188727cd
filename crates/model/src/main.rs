//! `handover-model`: explores the models, all setups or those named, and prints a line of JSON for each.

use std::io::Write;
use std::process::ExitCode;

use handover_model::{Explored, MUTANTS, SETUPS, Setup, Size, setup};

const USAGE: &str = "usage: handover-model [--full | --mutants | SETUP...]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let sound = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => all(|setup| setup.size == Size::Small),
        ["--full"] => all(|_| true),
        ["--mutants"] => mutants(),
        names if names.iter().all(|name| setup(name).is_some()) => all(|setup| names.contains(&setup.name)),
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn all(wanted: impl Fn(&Setup) -> bool) -> bool {
    let mut sound = true;
    for setup in SETUPS.iter().filter(|setup| wanted(setup)) {
        let explored = setup.explore(None, None);
        say(&line(setup.name, &explored));
        for (property, way) in &explored.broken {
            say(&format!("{property}: not after\n  {}", way.join("\n  ")));
        }
        sound &= explored.is_sound();
    }
    sound
}

/// Each mutant with the shortest way to what it breaks.
fn mutants() -> bool {
    let mut caught = true;
    for mutant in MUTANTS {
        let Some(setup) = setup(mutant.setup) else { return false };
        let explored = setup.explore(Some(mutant.without), Some(mutant.breaks));
        caught &= explored.breaks(mutant.breaks);
        let found = explored.broken.iter().find(|(name, _)| *name == mutant.breaks);
        let way = found.map_or_else(|| "is not broken".to_owned(), |(_, way)| way.join("\n  "));
        say(&format!("without {:?}, in {}: {}\n  {way}", mutant.without, mutant.setup, mutant.breaks));
    }
    caught
}

fn line(name: &str, explored: &Explored) -> String {
    let Explored { states, steps, depth, took, .. } = explored;
    let (seconds, sound) = (took.as_secs_f64(), explored.is_sound());
    format!(
        r#"{{"setup":"{name}","states":{states},"steps":{steps},"depth":{depth},"seconds":{seconds:.1},"sound":{sound}}}"#
    )
}

fn say(text: &str) {
    // Nobody reads on: that is no error of ours.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
