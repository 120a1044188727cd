//! A small lexer of Postgres' SQL: enough to know what is code and what is a quote or a comment.
//!
//! It follows `scan.l` for strings (with `standard_conforming_strings` on, as every session pins it),
//! dollar quotes, nested comments and casts. It does not parse: what a statement means is the server's to say.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword or an unquoted name.
    Word,
    /// A name in double quotes.
    Quoted,
    /// A string of any kind, or a number.
    Literal,
    /// White space and comments.
    Blank,
    /// `:name`.
    Placeholder,
    /// `$1`.
    Parameter,
    /// `;`
    Semicolon,
    /// Any other character; `::` and `:=` are one.
    Symbol,
}

/// A piece of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'s> {
    pub(crate) kind: Kind,
    /// The byte at which it begins.
    pub(crate) at: usize,
    pub(crate) text: &'s str,
}

impl Token<'_> {
    /// The byte behind it.
    pub(crate) fn end(&self) -> usize {
        self.at + self.text.len()
    }

    /// Whether it is this keyword, in any case.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }
}

/// A quote or comment that does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unterminated {
    /// The byte at which it begins.
    pub(crate) at: usize,
    /// What it is.
    pub(crate) what: &'static str,
}

/// All of `sql` as tokens, which together are exactly its text.
pub(crate) fn tokenize(sql: &str) -> Result<Vec<Token<'_>>, Unterminated> {
    let mut lexer = Lexer { sql, at: 0 };
    let mut tokens = Vec::new();
    while lexer.at < sql.len() {
        let at = lexer.at;
        let kind = lexer.next_kind()?;
        debug_assert!(lexer.at > at, "a token has at least one character");
        tokens.push(Token { kind, at, text: &sql[at..lexer.at] });
    }
    Ok(tokens)
}

struct Lexer<'s> {
    sql: &'s str,
    at: usize,
}

fn begins_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn continues_word(c: char) -> bool {
    begins_word(c) || c.is_ascii_digit() || c == '$'
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.sql[self.at..]
    }

    fn skip_while(&mut self, accept: impl Fn(char) -> bool) {
        self.at += self.rest().find(|c| !accept(c)).unwrap_or(self.rest().len());
    }

    fn next_kind(&mut self) -> Result<Kind, Unterminated> {
        let rest = self.rest();
        let first = rest.chars().next().expect("the caller stops at the end");
        match first {
            c if is_space(c) => {
                self.skip_while(is_space);
                Ok(Kind::Blank)
            }
            _ if rest.starts_with("--") => {
                self.skip_while(|c| c != '\n');
                Ok(Kind::Blank)
            }
            _ if rest.starts_with("/*") => self.comment(),
            '\'' => self.string(false),
            '"' => self.quoted('"', false, "quoted name").map(|()| Kind::Quoted),
            '$' => self.dollar(),
            ':' => Ok(self.colon()),
            ';' => {
                self.at += 1;
                Ok(Kind::Semicolon)
            }
            c if begins_word(c) => self.word(),
            c if c.is_ascii_digit() => {
                self.number();
                Ok(Kind::Literal)
            }
            c => {
                self.at += c.len_utf8();
                Ok(Kind::Symbol)
            }
        }
    }

    fn comment(&mut self) -> Result<Kind, Unterminated> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            let rest = self.rest();
            let Some(next) = rest.find(['/', '*']) else {
                return Err(Unterminated { at: start, what: "comment" });
            };
            self.at += next;
            if self.rest().starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if self.rest().starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return Ok(Kind::Blank);
                }
            } else {
                self.at += 1;
            }
        }
    }

    fn word(&mut self) -> Result<Kind, Unterminated> {
        let start = self.at;
        self.skip_while(continues_word);
        let word = &self.sql[start..self.at];
        // E'…' is the one string in which a backslash hides a quote; B'', X'' and N'' are as plain ones.
        if self.rest().starts_with('\'') && matches!(word, "e" | "E") {
            return self.string(true);
        }
        Ok(Kind::Word)
    }

    fn number(&mut self) {
        // `1..2` and `1e5` need no telling apart here: no quote or placeholder hides in a number.
        self.skip_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    }

    fn string(&mut self, escapes: bool) -> Result<Kind, Unterminated> {
        loop {
            self.quoted('\'', escapes, "string")?;
            // A string goes on, under the rules of its first part, behind white space with a line break.
            let blank_end = self.rest().find(|c| !is_space(c)).unwrap_or(self.rest().len());
            let (blank, next) = self.rest().split_at(blank_end);
            if !(blank.contains(['\n', '\r']) && next.starts_with('\'')) {
                return Ok(Kind::Literal);
            }
            self.at += blank_end;
        }
    }

    /// Passes what stands between two `quote`s; two of them inside are one.
    fn quoted(&mut self, quote: char, escapes: bool, what: &'static str) -> Result<(), Unterminated> {
        let start = self.at;
        self.at += 1;
        loop {
            let Some(next) = self.rest().find([quote, '\\']) else {
                return Err(Unterminated { at: start, what });
            };
            self.at += next;
            let found_quote = self.rest().starts_with(quote);
            self.at += 1;
            if found_quote {
                if !self.rest().starts_with(quote) {
                    return Ok(());
                }
                self.at += 1;
            } else if escapes {
                self.at += self.rest().chars().next().map_or(0, char::len_utf8);
            }
        }
    }

    fn dollar(&mut self) -> Result<Kind, Unterminated> {
        let start = self.at;
        let behind = &self.rest()[1..];
        if behind.starts_with(|c: char| c.is_ascii_digit()) {
            self.at += 1;
            self.skip_while(|c| c.is_ascii_digit());
            return Ok(Kind::Parameter);
        }
        let tag_length = behind.find(|c| !continues_word(c) || c == '$').unwrap_or(behind.len());
        if !behind[tag_length..].starts_with('$') {
            self.at += 1;
            return Ok(Kind::Symbol);
        }
        let tag = &self.rest()[..tag_length + 2];
        self.at += tag.len();
        let end = self.rest().find(tag).ok_or(Unterminated { at: start, what: "dollar-quoted string" })?;
        self.at += end + tag.len();
        Ok(Kind::Literal)
    }

    fn colon(&mut self) -> Kind {
        let behind = &self.rest()[1..];
        if behind.starts_with([':', '=']) {
            self.at += 2;
            return Kind::Symbol;
        }
        self.at += 1;
        if behind.starts_with(begins_word) {
            self.skip_while(continues_word);
            return Kind::Placeholder;
        }
        Kind::Symbol
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn placeholders(sql: &str) -> Vec<&str> {
        let tokens = tokenize(sql).unwrap();
        tokens.iter().filter(|t| t.kind == Kind::Placeholder).map(|t| t.text).collect()
    }

    #[test]
    fn placeholders_in_quotes_and_comments_are_text() {
        for sql in [
            "':users'",
            "'it''s :users'",
            r"'\' || x", // a backslash is no escape in a plain string: what follows is code
            r"E'\' :users'",
            "E'a'\n  '\\' :users'",
            "\":users\"",
            "\"a\"\":users\"",
            "$$:users$$",
            "$a$ $b$ $$ :users $a$",
            "-- :users",
            "/* /* */ :users */",
            "x::users",
            "x :: users",
            "U&':users'",
        ] {
            assert_eq!(placeholders(sql), Vec::<&str>::new(), "{sql}");
        }
    }

    #[test]
    fn placeholders_beside_quotes_comments_and_casts_are_found() {
        for sql in [
            "ANY(:users)",
            ":users::int8[]",
            "'a':users",
            r"'\':users",
            "E'\\\\':users",
            "/* */:users/**/",
            "-- x\n:users",
            "$a$ $a$:users",
            "a$b$:users", // a dollar inside a name begins no quote
            "::int8=:users",
            "'a' 'b' :users",
        ] {
            assert_eq!(placeholders(sql), [":users"], "{sql}");
        }
    }

    #[test]
    fn what_does_not_end_is_told_with_its_beginning() {
        for (sql, at, what) in [
            ("x 'abc", 2, "string"),
            ("x 'abc''", 2, "string"),
            ("x E'\\'", 3, "string"),
            ("x \"abc", 2, "quoted name"),
            ("x $a$ $b$", 2, "dollar-quoted string"),
            ("x /* /* */", 2, "comment"),
        ] {
            assert_eq!(tokenize(sql), Err(Unterminated { at, what }), "{sql}");
        }
    }

    #[test]
    fn parameters_and_semicolons_are_told_apart_from_names() {
        let kinds: Vec<_> = tokenize("$1;a$1").unwrap().iter().map(|t| t.kind).collect();
        assert_eq!(kinds, [Kind::Parameter, Kind::Semicolon, Kind::Word]);
    }

    proptest! {
        #[test]
        fn tokens_are_the_text_and_nothing_panics(sql in "[-'\"$:;/*eE\\\\ \na1é\\[\\]]{0,60}") {
            if let Ok(tokens) = tokenize(&sql) {
                let joined: String = tokens.iter().map(|t| t.text).collect();
                prop_assert_eq!(joined, sql);
            }
        }
    }
}
