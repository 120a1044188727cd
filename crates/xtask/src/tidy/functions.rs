//! Finds the functions and the test modules of masked Rust source by their braces.

use std::ops::RangeInclusive;

use super::mask::is_word;

/// A function's name and the lines it covers, from `fn` to its closing brace, counted from one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) lines: RangeInclusive<usize>,
}

/// All functions with a body, nested ones too.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for at in words(code, "fn") {
        let signature = code[at + 2..].trim_start();
        let name: String = signature.chars().take_while(|character| is_word(*character)).collect();
        // `fn(u8) -> u8` is a type.
        if name.is_empty() {
            continue;
        }
        if let Some((open, close)) = body(code, at) {
            debug_assert!(open <= close);
            found.push(Function { name, lines: line_of(code, at)..=line_of(code, close) });
        }
    }
    found
}

/// The lines of every `#[cfg(test)] mod … { … }`.
pub(crate) fn test_modules(code: &str) -> Vec<RangeInclusive<usize>> {
    let starts = code.match_indices("#[cfg(test)]").map(|(at, _)| at);
    let modules = starts.filter(|at| is_module(&code[at + "#[cfg(test)]".len()..]));
    modules
        .filter_map(|at| body(code, at).map(|(_, close)| line_of(code, at)..=line_of(code, close)))
        .collect()
}

/// Whether what follows the attribute is a module, possibly after more attributes.
fn is_module(after: &str) -> bool {
    let mut rest = after.trim_start();
    while let Some(attribute) = rest.strip_prefix("#[") {
        let Some(end) = attribute.find(']') else { return false };
        rest = attribute[end + 1..].trim_start();
    }
    rest.starts_with("mod ") || rest.starts_with("pub(crate) mod ") || rest.starts_with("pub mod ")
}

/// Where the first braces after `from` open and close; none if a `;` outside of parentheses and brackets comes first.
fn body(code: &str, from: usize) -> Option<(usize, usize)> {
    let mut nested = 0i32;
    let mut open = None;
    let mut braces = 0i32;
    for (offset, character) in code[from..].char_indices() {
        match (character, open) {
            ('(' | '[', None) => nested += 1,
            (')' | ']', None) => nested -= 1,
            (';', None) if nested == 0 => return None,
            ('{', None) if nested == 0 => {
                open = Some(from + offset);
                braces = 1;
            }
            ('{', Some(_)) => braces += 1,
            ('}', Some(start)) => {
                braces -= 1;
                if braces == 0 {
                    return Some((start, from + offset));
                }
            }
            _ => {}
        }
    }
    None
}

/// Where `word` stands as a word of its own.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back().is_some_and(is_word);
        let after = code[at + word.len()..].chars().next().is_some_and(is_word);
        !before && !after
    })
}

/// The line that a byte lies in, counted from one.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].bytes().filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> Vec<(String, usize, usize)> {
        let flat = |function: Function| (function.name, *function.lines.start(), *function.lines.end());
        functions(code).into_iter().map(flat).collect()
    }

    #[test]
    fn a_function_ends_at_its_own_brace() {
        let code = "fn a(x: [u8; 2]) -> u8 {\n if x { 1 } else { 2 }\n}\n\nfn b() {}\n";
        assert_eq!(found(code), [("a".into(), 1, 3), ("b".into(), 5, 5)]);
    }

    #[test]
    fn declarations_and_types_have_no_body() {
        assert_eq!(found("trait T { fn a(&self); }\ntype F = fn(u8) -> u8;\nstruct S { f: fn() }"), []);
    }

    #[test]
    fn a_nested_function_is_found_too() {
        assert_eq!(found("fn a() {\n fn b() {\n }\n}"), [("a".into(), 1, 4), ("b".into(), 2, 3)]);
    }

    #[test]
    fn a_test_module_is_found_behind_other_attributes() {
        let code = "fn a() {}\n#[cfg(test)]\n#[expect(x)]\nmod tests {\n fn b() {}\n}\nfn c() {}\n";
        assert_eq!(test_modules(code), [2..=6]);
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_and_a_test_import_are_no_range() {
        assert_eq!(test_modules("#[cfg(test)]\nmod tests;\n#[cfg(test)]\nuse a::{b};\nfn c() {}\n"), []);
    }
}
