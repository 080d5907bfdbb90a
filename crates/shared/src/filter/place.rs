//! Where an expression is wrong. libpcap says what is wrong only, so the place
//! is found by trying.

use std::fmt;

/// A place in an expression, shown as the expression with a caret below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    expression: String,
    /// Where the caret stands, in characters.
    column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expression, column } = self;
        write!(f, "\n    {expression}\n    {:column$}^", "")
    }
}

/// What may end an expression that is right so far, behind the parentheses
/// that are still open. Not complete: whatever begins so is found to be wrong
/// too early by a word.
const ENDINGS: [&str; 8] = [
    "",
    "1",
    "tcp",
    "port 1",
    "1.2.3.4",
    "= 1",
    "1 = 1",
    "1:2:3:4:5:6",
];

impl Place {
    /// Finds the place of what `message` complains of.
    pub(super) fn find(
        expression: &str,
        message: &str,
        compiles: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let words = words(expression);
        let at = if message.contains("syntax error") {
            // What can be ended is right so far, and so is all before it.
            let right = words.partition_point(|word| {
                let so_far = expression.get(..word.end).unwrap_or_default();
                ENDINGS
                    .iter()
                    .any(|ending| compiles(&ended(so_far, ending)))
            });
            words
                .get(right)
                .map_or(expression.trim_end().len(), |word| word.start)
        } else {
            // Messages name what they do not know: unknown host 'name'.
            let name = message.split('\'').nth(1).filter(|name| !name.is_empty())?;
            words
                .iter()
                .find(|word| expression.get(word.start..word.end) == Some(name))
                .map(|word| word.start)?
        };
        let before = expression.get(..at)?;
        Some(Self {
            // As one line, so that the caret stands below.
            expression: expression
                .chars()
                .map(|c| {
                    if c.is_whitespace() || c.is_control() {
                        ' '
                    } else {
                        c
                    }
                })
                .collect::<String>()
                .trim_end()
                .to_owned(),
            column: before.chars().count(),
        })
    }
}

/// The beginning of an expression with an ending, and with what closes the
/// parentheses and brackets that it leaves open.
fn ended(so_far: &str, ending: &str) -> String {
    let mut open = Vec::new();
    for character in so_far.chars() {
        match character {
            '(' => open.push(")"),
            // An index is an operand: it must be compared.
            '[' => open.push("] = 1"),
            ')' | ']' => drop(open.pop()),
            _ => {}
        }
    }
    let closing: String = open.into_iter().rev().collect();
    format!("{so_far} {ending} {closing}")
}

struct Word {
    start: usize,
    end: usize,
}

/// The words of an expression; an operator is a word.
fn words(expression: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut in_word = false;
    for (start, character) in expression.char_indices() {
        let end = start + character.len_utf8();
        let is_operator = "()[]!=<>&|+*".contains(character);
        match words.last_mut() {
            Some(word) if in_word && !is_operator && !character.is_whitespace() => word.end = end,
            _ if character.is_whitespace() => {}
            _ => words.push(Word { start, end }),
        }
        in_word = !is_operator && !character.is_whitespace();
    }
    words
}
