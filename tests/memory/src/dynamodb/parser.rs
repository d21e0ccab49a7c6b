//! The syntax that all expressions share: tokens, document paths and placeholders.

use std::collections::BTreeSet;

use super::reserved;

/// The maximum length of an expression in bytes.
const MAX_BYTES: usize = 4096;

/// A step of a document path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A member of a map, or a placeholder such as `#name` for one.
    Name(String),
    /// An element of a list.
    Index(usize),
}

/// A document path such as `a.#b[0]`.
pub(super) type Path = Vec<Step>;

/// The placeholders that an expression uses.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct References {
    pub(super) names: BTreeSet<String>,
    pub(super) values: BTreeSet<String>,
}

/// A parsed expression and the placeholders that it uses.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parsed<T> {
    pub(super) expression: T,
    pub(super) references: References,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A keyword, a function or a name.
    Word,
    /// `#name`
    Name,
    /// `:value`
    Value,
    Digits,
    Symbol,
}

#[derive(Debug, Clone, Copy)]
struct Token<'t> {
    kind: Kind,
    text: &'t str,
    start: usize,
}

impl Token<'_> {
    fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// A parser at a token of an expression. Its errors are DynamoDB's messages without the name of the parameter.
#[derive(Debug)]
pub(super) struct Parser<'t> {
    source: &'t str,
    tokens: Vec<Token<'t>>,
    next: usize,
    references: References,
}

/// Parses a whole expression.
///
/// # Errors
/// DynamoDB's message, without the name of the parameter.
pub(super) fn parse<'t, T>(
    source: &'t str,
    rule: impl FnOnce(&mut Parser<'t>) -> Result<T, String>,
) -> Result<Parsed<T>, String> {
    if source.is_empty() {
        return Err("The expression can not be empty;".to_owned());
    }
    if source.len() > MAX_BYTES {
        return Err("Expression size has exceeded the maximum allowed size;".to_owned());
    }
    let mut parser = Parser { source, tokens: tokens(source)?, next: 0, references: References::default() };
    parser.reject_redundant_parentheses()?;
    let expression = rule(&mut parser)?;
    match parser.is_at_end() {
        true => Ok(Parsed { expression, references: parser.references }),
        false => Err(parser.syntax_error()),
    }
}

fn tokens(source: &str) -> Result<Vec<Token<'_>>, String> {
    let bytes = source.as_bytes();
    let length_of = |from: usize, accepts: fn(&u8) -> bool| bytes.iter().skip(from).take_while(|b| accepts(b)).count();
    let is_in_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let (mut tokens, mut start) = (Vec::new(), 0);
    while let Some(&byte) = bytes.get(start) {
        let (kind, length) = match byte {
            byte if byte.is_ascii_whitespace() => {
                start += 1;
                continue;
            }
            b'#' => (Kind::Name, 1 + length_of(start + 1, is_in_word)),
            b':' => (Kind::Value, 1 + length_of(start + 1, is_in_word)),
            b'0'..=b'9' => (Kind::Digits, length_of(start, u8::is_ascii_digit)),
            b'<' if matches!(bytes.get(start + 1), Some(b'>' | b'=')) => (Kind::Symbol, 2),
            b'>' if bytes.get(start + 1) == Some(&b'=') => (Kind::Symbol, 2),
            b'<' | b'>' | b'=' | b'+' | b'-' | b'(' | b')' | b'[' | b']' | b'.' | b',' => (Kind::Symbol, 1),
            byte if is_in_word(&byte) => (Kind::Word, length_of(start, is_in_word)),
            _ => (Kind::Symbol, 0),
        };
        if length == 0 || (length == 1 && matches!(kind, Kind::Name | Kind::Value)) {
            let rest = source.get(start..).unwrap_or_default();
            let token = rest.chars().next().unwrap_or_default();
            return Err(format!("Syntax error; token: \"{token}\", near: \"{rest}\""));
        }
        tokens.push(Token { kind, text: source.get(start..start + length).unwrap_or_default(), start });
        start += length;
    }
    Ok(tokens)
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.next).copied()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.next >= self.tokens.len()
    }

    /// The error message for the next token.
    pub(super) fn syntax_error(&self) -> String {
        let (Some(token), Some(last)) = (self.peek(), self.tokens.last()) else {
            let near = self.tokens.last().map_or(self.source, |last| last.text);
            return format!("Syntax error; token: \"<EOF>\", near: \"{near}\"");
        };
        let from = self.next.checked_sub(1).and_then(|previous| self.tokens.get(previous)).unwrap_or(&token).start;
        let to = self.tokens.get(self.next + 1).map_or(last.end(), Token::end);
        let near = self.source.get(from..to).unwrap_or_default();
        format!("Syntax error; token: \"{}\", near: \"{near}\"", token.text)
    }

    /// Takes the next token if it is this symbol.
    pub(super) fn takes(&mut self, symbol: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.kind == Kind::Symbol && token.text == symbol);
        self.next += usize::from(found);
        found
    }

    /// Takes the next token if it is this keyword in any case.
    pub(super) fn takes_keyword(&mut self, keyword: &str) -> bool {
        let is_keyword = |token: Token<'_>| token.kind == Kind::Word && token.text.eq_ignore_ascii_case(keyword);
        let found = self.peek().is_some_and(is_keyword);
        self.next += usize::from(found);
        found
    }

    /// Takes this symbol.
    ///
    /// # Errors
    /// If the next token is another one.
    pub(super) fn expect(&mut self, symbol: &str) -> Result<(), String> {
        match self.takes(symbol) {
            true => Ok(()),
            false => Err(self.syntax_error()),
        }
    }

    /// Takes the name of a function and its parenthesis, if they are next.
    pub(super) fn function(&mut self) -> Option<&'t str> {
        let name = self.peek().filter(|token| token.kind == Kind::Word && !is_keyword(token.text))?;
        let parenthesis = self.tokens.get(self.next + 1)?;
        (parenthesis.text == "(").then(|| self.next += 2)?;
        Some(name.text)
    }

    /// Takes a placeholder of a value, if it is next.
    pub(super) fn value(&mut self) -> Option<String> {
        let token = self.peek().filter(|token| token.kind == Kind::Value)?;
        self.next += 1;
        self.references.values.insert(token.text.to_owned());
        Some(token.text.to_owned())
    }

    /// Takes a document path.
    ///
    /// # Errors
    /// If the next token does not begin a path, or a name is a reserved word.
    pub(super) fn path(&mut self) -> Result<Path, String> {
        let mut path = vec![self.name()?];
        loop {
            if self.takes(".") {
                path.push(self.name()?);
            } else if self.takes("[") {
                let token = self.peek().filter(|token| token.kind == Kind::Digits);
                let index = token.and_then(|token| token.text.parse().ok());
                path.push(Step::Index(index.ok_or_else(|| self.syntax_error())?));
                self.next += 1;
                self.expect("]")?;
            } else {
                return Ok(path);
            }
        }
    }

    fn name(&mut self) -> Result<Step, String> {
        match self.peek() {
            Some(token) if token.kind == Kind::Name => {
                self.references.names.insert(token.text.to_owned());
                self.next += 1;
                Ok(Step::Name(token.text.to_owned()))
            }
            Some(token) if token.kind == Kind::Word && !is_keyword(token.text) => {
                if reserved::is_reserved(token.text) {
                    let name = token.text;
                    return Err(format!("Attribute name is a reserved keyword; reserved keyword: {name}"));
                }
                self.next += 1;
                Ok(Step::Name(token.text.to_owned()))
            }
            _ => Err(self.syntax_error()),
        }
    }

    /// Rejects parentheses that directly enclose other parentheses, as DynamoDB does.
    fn reject_redundant_parentheses(&self) -> Result<(), String> {
        let mut open = Vec::new();
        let mut closed = None;
        for (n, token) in self.tokens.iter().enumerate() {
            match token.text {
                "(" => open.push(n),
                ")" => {
                    let Some(start) = open.pop() else { return Ok(()) };
                    if closed == Some((start + 1, n.wrapping_sub(1))) {
                        return Err("The expression has redundant parentheses;".to_owned());
                    }
                    closed = Some((start, n));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a word is part of the syntax in every position.
fn is_keyword(word: &str) -> bool {
    ["AND", "OR", "NOT", "BETWEEN", "IN", "SET", "REMOVE", "ADD", "DELETE"]
        .iter()
        .any(|keyword| word.eq_ignore_ascii_case(keyword))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(source: &str) -> Result<Path, String> {
        parse(source, Parser::path).map(|parsed| parsed.expression)
    }

    #[test]
    fn path_has_names_placeholders_and_indexes() {
        let name = |name: &str| Step::Name(name.to_owned());
        assert_eq!(path("a.#b[0].c2"), Ok(vec![name("a"), name("#b"), Step::Index(0), name("c2")]));
        assert_eq!(path(" a [ 12 ] "), Ok(vec![name("a"), Step::Index(12)]));
    }

    #[test]
    fn placeholders_of_an_expression_are_collected() {
        let references = parse("#a.#b.#a", Parser::path).unwrap().references;
        assert_eq!(references.names.iter().map(String::as_str).collect::<Vec<_>>(), ["#a", "#b"]);
    }

    #[test]
    fn syntax_error_names_the_token_and_its_neighbours() {
        assert_eq!(path("a.b c d").unwrap_err(), r#"Syntax error; token: "c", near: "b c d""#);
        assert_eq!(path("a.").unwrap_err(), r#"Syntax error; token: "<EOF>", near: ".""#);
        assert_eq!(path("a!").unwrap_err(), r#"Syntax error; token: "!", near: "!""#);
        for invalid in ["", " ", "#", "a[b]", "a[-1]", "a..b", "[0]", "a.0", ":a", "ä"] {
            assert!(path(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn reserved_words_need_a_placeholder() {
        assert_eq!(path("a.State").unwrap_err(), "Attribute name is a reserved keyword; reserved keyword: State");
    }
}
