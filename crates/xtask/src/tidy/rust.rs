//! Rules for Rust files: length of functions, files and lines, banned calls, ignored tests, sleeps in tests.

use super::functions::{functions, line_of, test_modules, words};
use super::mask::{Masked, mask};
use super::{File, Finding};

/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;
/// The same for a test, which may tell a longer story.
const TEST_FUNCTION_LINES: usize = 120;
/// Lines of a file, its test modules and files of tests apart.
const FILE_LINES: usize = 600;
/// Characters of a line.
const LINE_CHARACTERS: usize = 140;

/// The reasons for which a test may be ignored: it is none.
const NO_TEST: [&str; 2] = ["run by another test, as a process of its own", "a measurement"];

/// Macros that may not stay.
const LEFTOVERS: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// All findings of one file.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let source = Source::new(file);
    let mut found = source.long_functions();
    found.extend(source.long_file());
    found.extend(source.long_lines());
    found.extend(source.leftovers());
    found.extend(source.ignored_tests());
    found.extend(source.sleeping_tests());
    found
}

struct Source<'a> {
    file: &'a File,
    masked: Masked,
    /// For each line, whether it belongs to tests.
    in_tests: Vec<bool>,
}

impl<'a> Source<'a> {
    fn new(file: &'a File) -> Self {
        let masked = mask(&file.text);
        let mut in_tests = vec![is_test_file(&file.path); file.text.lines().count()];
        for lines in test_modules(&masked.code) {
            for line in lines {
                if let Some(entry) = in_tests.get_mut(line - 1) {
                    *entry = true;
                }
            }
        }
        Self { file, masked, in_tests }
    }

    fn is_test(&self, line: usize) -> bool {
        self.in_tests.get(line - 1).copied().unwrap_or(false)
    }

    fn at(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding::new(&self.file.path, line, message)
    }

    fn long_functions(&self) -> Vec<Finding> {
        let judge = |function: super::functions::Function| {
            let (start, end) = (*function.lines.start(), *function.lines.end());
            let limit = if self.is_test(start) { TEST_FUNCTION_LINES } else { FUNCTION_LINES };
            let lines = end - start + 1;
            (lines > limit)
                .then(|| self.at(start, format!("{} has {lines} lines, at most {limit}", function.name)))
        };
        functions(&self.masked.code).into_iter().filter_map(judge).collect()
    }

    fn long_file(&self) -> Option<Finding> {
        let lines = self.in_tests.iter().filter(|test| !**test).count();
        (lines > FILE_LINES)
            .then(|| self.at(0, format!("has {lines} lines without its tests, at most {FILE_LINES}")))
    }

    fn long_lines(&self) -> Vec<Finding> {
        let numbered = self.file.text.lines().enumerate();
        let judge = |(index, line): (usize, &str)| {
            let characters = line.chars().count();
            let message = format!("line of {characters} characters, at most {LINE_CHARACTERS}");
            (characters > LINE_CHARACTERS).then(|| self.at(index + 1, message))
        };
        numbered.filter_map(judge).collect()
    }

    fn leftovers(&self) -> Vec<Finding> {
        let code = &self.masked.code;
        let mut found = Vec::new();
        for name in LEFTOVERS {
            for at in words(code, name).filter(|at| code[at + name.len()..].starts_with('!')) {
                found.push(self.at(line_of(code, at), format!("{name}! may not stay")));
            }
        }
        found
    }

    /// A process that another test starts, and a measurement, are no tests, and say so.
    fn ignored_tests(&self) -> Vec<Finding> {
        let code = &self.masked.code;
        let ignored = words(code, "ignore").filter(|at| code[..*at].trim_end().ends_with("#["));
        let lines = ignored.map(|at| line_of(code, at));
        let parts = |line: &usize| {
            self.file
                .text
                .lines()
                .nth(line - 1)
                .is_some_and(|text| NO_TEST.iter().any(|why| text.contains(why)))
        };
        lines
            .filter(|line| !parts(line))
            .map(|line| self.at(line, "a test that is never run proves nothing"))
            .collect()
    }

    fn sleeping_tests(&self) -> Vec<Finding> {
        let code = &self.masked.code;
        let calls = words(code, "sleep").filter(|at| code[at + "sleep".len()..].starts_with('('));
        let in_tests = calls.map(|at| line_of(code, at)).filter(|line| self.is_test(*line));
        in_tests.map(|line| self.at(line, "a test awaits an event, it does not sleep")).collect()
    }
}

/// Files that hold nothing but tests: in a folder `tests`, or named so.
fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&file).iter().map(ToString::to_string).collect()
    }

    fn function_of(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_of_seventy_lines_passes_and_one_more_does_not() {
        assert_eq!(messages("src/a.rs", &function_of(70)), Vec::<String>::new());
        assert_eq!(messages("src/a.rs", &function_of(71)), ["src/a.rs:1: long has 71 lines, at most 70"]);
    }

    #[test]
    fn a_test_may_be_longer_but_not_endless() {
        assert_eq!(messages("tests/src/a.rs", &function_of(120)), Vec::<String>::new());
        assert_eq!(
            messages("tests/src/a.rs", &function_of(121)),
            ["tests/src/a.rs:1: long has 121 lines, at most 120"]
        );
    }

    #[test]
    fn a_files_tests_do_not_count_towards_its_length() {
        let code = "const A: u8 = 1;\n".repeat(600);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "const B: u8 = 1;\n".repeat(600));
        assert_eq!(messages("src/a.rs", &format!("{code}{tests}")), Vec::<String>::new());
        assert_eq!(messages("src/a/tests.rs", &code.repeat(2)), Vec::<String>::new());
        let longer = format!("{code}const C: u8 = 1;\n{tests}");
        assert_eq!(messages("src/a.rs", &longer), ["src/a.rs: has 601 lines without its tests, at most 600"]);
    }

    #[test]
    fn a_line_is_measured_in_characters() {
        assert_eq!(messages("src/a.rs", &format!("// {}\n", "ü".repeat(137))), Vec::<String>::new());
        let found = messages("src/a.rs", &format!("// {}\n", "ü".repeat(138)));
        assert_eq!(found, ["src/a.rs:1: line of 141 characters, at most 140"]);
    }

    #[test]
    fn leftover_macros_are_found_in_code_only() {
        for name in LEFTOVERS {
            let found = messages("src/a.rs", &format!("fn a() {{\n    {name}!();\n}}\n"));
            assert_eq!(found, [format!("src/a.rs:2: {name}! may not stay")]);
            assert!(
                messages("src/a.rs", &format!("/// Not {name}!()\nconst A: &str = \"{name}!()\";\n"))
                    .is_empty()
            );
        }
    }

    #[test]
    fn an_ignored_test_is_found() {
        for attribute in ["#[ignore]", "#[ignore = \"slow\"]", "#[ ignore ]"] {
            let found = messages("src/a.rs", &format!("#[test]\n{attribute}\nfn a() {{}}\n"));
            assert_eq!(found, ["src/a.rs:2: a test that is never run proves nothing"]);
        }
        assert!(messages("src/a.rs", "fn ignore() {}\n").is_empty());
        for why in NO_TEST {
            let text = format!("#[test]\n#[ignore = \"{why}\"]\nfn a() {{}}\n");
            assert!(messages("src/a.rs", &text).is_empty());
        }
    }

    #[test]
    fn a_sleep_is_found_in_tests_only() {
        let call = "fn a() {\n    tokio::time::sleep(SECOND).await;\n}\n";
        assert!(messages("src/a.rs", call).is_empty());
        let expected = "a test awaits an event, it does not sleep";
        assert_eq!(messages("tests/src/a.rs", call), [format!("tests/src/a.rs:2: {expected}")]);
        let module = format!("#[cfg(test)]\nmod tests {{\n{call}}}\n");
        assert_eq!(messages("src/a.rs", &module), [format!("src/a.rs:4: {expected}")]);
        assert!(messages("tests/src/a.rs", "const A: &str = \"select pg_sleep(1)\";\n").is_empty());
    }
}
