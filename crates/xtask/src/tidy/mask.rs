//! Parts Rust source into code and comments, so that a rule can look at one without being misled by the other.
//!
//! It knows where strings, characters and comments begin and end, and nothing else of the language. The text of
//! strings is in neither part.

/// A source file's two parts. Both have the line breaks of the source, and blanks where the other part stands.
pub(crate) struct Masked {
    pub(crate) code: String,
    pub(crate) comments: String,
}

/// Parts a source file.
pub(crate) fn mask(source: &str) -> Masked {
    let mut scanner = Scanner { rest: source, previous: ' ', code: String::new(), comments: String::new() };
    while !scanner.rest.is_empty() {
        scanner.step();
    }
    Masked { code: scanner.code, comments: scanner.comments }
}

struct Scanner<'a> {
    rest: &'a str,
    /// The character of code before `rest`: in `for"` the `r` begins no raw string.
    previous: char,
    code: String,
    comments: String,
}

#[derive(Clone, Copy)]
enum Part {
    Code,
    Comment,
    Text,
}

impl Scanner<'_> {
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            let length = self.rest.find('\n').unwrap_or(self.rest.len());
            self.advance(length, Part::Comment);
        } else if self.rest.starts_with("/*") {
            self.advance(block_comment(self.rest), Part::Comment);
        } else if let Some(length) = raw_string(self.rest).filter(|_| !is_word(self.previous)) {
            self.advance(length, Part::Text);
        } else if self.rest.starts_with('"') {
            self.advance(quoted(self.rest, '"'), Part::Text);
        } else if is_character(self.rest) {
            self.advance(quoted(self.rest, '\''), Part::Text);
        } else {
            let length = self.rest.chars().next().map_or(0, char::len_utf8);
            self.previous = self.rest.chars().next().unwrap_or(' ');
            self.advance(length, Part::Code);
        }
    }

    fn advance(&mut self, length: usize, part: Part) {
        let (taken, rest) = self.rest.split_at(length);
        for character in taken.chars() {
            let blank = if character == '\n' { '\n' } else { ' ' };
            self.code.push(if matches!(part, Part::Code) { character } else { blank });
            self.comments.push(if matches!(part, Part::Comment) { character } else { blank });
        }
        if !matches!(part, Part::Code) {
            self.previous = ' ';
        }
        self.rest = rest;
    }
}

pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The length of the block comment that `text` begins with; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the raw string that `text` begins with, if it does: `r"…"`, `r#"…"#`, and the same after `b` or `c`.
fn raw_string(text: &str) -> Option<usize> {
    let after_prefix =
        text.strip_prefix('b').or_else(|| text.strip_prefix('c')).unwrap_or(text).strip_prefix('r')?;
    let after_hashes = after_prefix.trim_start_matches('#');
    let hashes = after_prefix.len() - after_hashes.len();
    let body = after_hashes.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(text.len() - body.len() + end)
}

/// The length of the quoted text that `text` begins with, its quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether `text` begins with a character literal and not with a lifetime.
fn is_character(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next() == Some('\'')
        && match characters.next() {
            Some('\\') => true,
            Some(_) => characters.next() == Some('\''),
            None => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> String {
        mask(source).code
    }

    #[test]
    fn comments_and_strings_leave_the_code() {
        assert_eq!(code("a(\"b // c\"); // d"), "a(        );     ");
        assert_eq!(mask("a(\"b // c\"); // d").comments.trim(), "// d");
    }

    #[test]
    fn line_breaks_stay_in_both_parts() {
        let masked = mask("/* a\n/* b */\n*/ c\n\"d\ne\" f");
        assert_eq!(masked.code.lines().map(str::trim).collect::<Vec<_>>(), ["", "", "c", "", "f"]);
        assert_eq!(masked.comments.lines().count(), 5);
    }

    #[test]
    fn raw_strings_end_at_their_own_hashes() {
        assert_eq!(code("x(r#\"a\"b{\"#, br\"{\", r\"\\\")"), "x(         ,      ,     )");
        assert_eq!(code("r#fn"), "r#fn");
        assert_eq!(code("for\"{\""), "for   ");
    }

    #[test]
    fn characters_are_text_and_lifetimes_are_code() {
        assert_eq!(code("'{' '\\'' '\\u{7b}'").trim(), "");
        assert_eq!(code("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_string() {
        assert_eq!(code(r#"a("\"{", b'"')"#), "a(     , b   )");
    }
}
