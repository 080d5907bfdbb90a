//! How a condition is written.
//!
//! ```text
//! any   = all  ("or" all)*
//! all   = one  ("and" one)*
//! one   = "not" one | "(" any ")" | FIELD [("==" | "!=" | "<" | ...) VALUE]
//! VALUE = NUMBER | "text" | 'text' | word | true | false
//! ```

use super::kinds::Kinds;
use super::{Comparison, ConditionError, Test};

/// So deep may parentheses and `not` stand in each other.
const MAX_DEPTH: usize = 64;

/// A longer condition is none that a person wrote.
const MAX_BYTES: usize = 16 * 1024;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Compare(Comparison),
    Open,
    Close,
    And,
    Or,
    Not,
}

/// `kinds` says what the values of a field can be; none where there is no such field.
pub(super) fn parse(
    text: &str,
    kinds: impl Fn(&str) -> Option<Kinds>,
) -> Result<Test, ConditionError> {
    if text.len() > MAX_BYTES {
        return Err(error("", 0, "too long"));
    }
    let mut parser = Parser {
        text,
        tokens: tokens(text)?,
        next: 0,
        kinds,
    };
    let test = parser.any(0)?;
    match parser.peek() {
        None => Ok(test),
        Some(_) => Err(parser.error("expected and, or, or the end")),
    }
}

fn error(text: &str, at: usize, what: &str) -> ConditionError {
    let column = text.get(..at).unwrap_or(text).chars().count();
    ConditionError {
        what: what.to_owned(),
        text: text.replace(char::is_control, " "),
        column,
    }
}

/// The tokens, with the places where they begin.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ConditionError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (token, length) = match token(rest) {
            Ok(Some(token)) => token,
            Ok(None) => {
                at += rest.len() - rest.trim_start().len();
                continue;
            }
            Err(what) => return Err(error(text, at, what)),
        };
        tokens.push((at, token));
        at += length;
    }
    Ok(tokens)
}

/// The token that a text begins with, and its length; none at a space.
fn token(rest: &str) -> Result<Option<(Token, usize)>, &'static str> {
    const SIGNS: [(&str, Token); 13] = [
        ("==", Token::Compare(Comparison::Equal)),
        ("!=", Token::Compare(Comparison::Unequal)),
        ("<=", Token::Compare(Comparison::LessOrEqual)),
        (">=", Token::Compare(Comparison::GreaterOrEqual)),
        ("&&", Token::And),
        ("||", Token::Or),
        ("=", Token::Compare(Comparison::Equal)),
        ("<", Token::Compare(Comparison::Less)),
        (">", Token::Compare(Comparison::Greater)),
        ("~", Token::Compare(Comparison::Contains)),
        ("!", Token::Not),
        ("(", Token::Open),
        (")", Token::Close),
    ];
    if rest.starts_with(char::is_whitespace) {
        return Ok(None);
    }
    if let Some((sign, token)) = SIGNS.into_iter().find(|(sign, _)| rest.starts_with(sign)) {
        return Ok(Some((token, sign.len())));
    }
    for quote in ['"', '\''] {
        if let Some(inside) = rest.strip_prefix(quote) {
            let end = inside.find(quote).ok_or("missing closing quote")?;
            let text = inside.get(..end).unwrap_or_default();
            return Ok(Some((Token::Quoted(text.to_owned()), end + 2)));
        }
    }
    let is_part = |letter: char| letter.is_alphanumeric() || "_.-+:/%*".contains(letter);
    let length = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
    let word = rest.get(..length).unwrap_or_default();
    let token = match word {
        "" => return Err("unexpected character"),
        "and" => Token::And,
        "or" => Token::Or,
        "not" => Token::Not,
        word => Token::Word(word.to_owned()),
    };
    Ok(Some((token, length)))
}

struct Parser<'a, F> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    next: usize,
    kinds: F,
}

impl<F: Fn(&str) -> Option<Kinds>> Parser<'_, F> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    /// What is wrong at the next token.
    fn error(&self, what: &str) -> ConditionError {
        let at = self.tokens.get(self.next).map(|(at, _)| *at);
        error(self.text, at.unwrap_or(self.text.len()), what)
    }

    fn takes(&mut self, token: &Token) -> bool {
        let is_next = self.peek() == Some(token);
        self.next += usize::from(is_next);
        is_next
    }

    fn any(&mut self, depth: usize) -> Result<Test, ConditionError> {
        let mut tests = vec![self.all(depth)?];
        while self.takes(&Token::Or) {
            tests.push(self.all(depth)?);
        }
        Ok(Test::Any(tests))
    }

    fn all(&mut self, depth: usize) -> Result<Test, ConditionError> {
        let mut tests = vec![self.one(depth)?];
        while self.takes(&Token::And) {
            tests.push(self.one(depth)?);
        }
        Ok(Test::All(tests))
    }

    fn one(&mut self, depth: usize) -> Result<Test, ConditionError> {
        if depth > MAX_DEPTH {
            return Err(self.error("too deeply nested"));
        }
        if self.takes(&Token::Not) {
            return Ok(Test::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.takes(&Token::Open) {
            let test = self.any(depth + 1)?;
            if !self.takes(&Token::Close) {
                return Err(self.error("missing closing parenthesis"));
            }
            return Ok(test);
        }
        let Some(Token::Word(name)) = self.peek().cloned() else {
            return Err(self.error("expected the name of a field"));
        };
        let Some(kinds) = (self.kinds)(&name) else {
            return Err(self.error(&format!(
                "no row has a field {name}; --help lists the fields"
            )));
        };
        self.next += 1;
        let Some(&Token::Compare(comparison)) = self.peek() else {
            return Ok(Test::Holds(name));
        };
        if !kinds.takes(comparison) {
            return Err(self.error(&format!("{name} is {kinds}; ~ is for texts only")));
        }
        self.next += 1;
        let literal = match self.peek() {
            Some(Token::Quoted(text)) => kinds.literal(comparison, text, true),
            Some(Token::Word(word)) => kinds.literal(comparison, word, false),
            _ => None,
        };
        let literal = literal
            .ok_or_else(|| self.error(&format!("{name} is {kinds}; expected such a value here")))?;
        self.next += 1;
        Ok(Test::Compare(name, comparison, literal))
    }
}
