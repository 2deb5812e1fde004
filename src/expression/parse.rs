//! From tokens to a tree by recursive descent, without going back. Knows the grammar, not the types.

use std::ops::Range;

use super::code::{Arithmetic, Relation};
use super::token::{Lexeme, Symbol, Token, tokens};
use super::told::Told;
use crate::diagnostic::quoted;
use crate::time::Span;

/// How deep an expression may be nested; a chain of `||` or of `&&` is one level, each further `+` or `?` is one.
pub(super) const MAX_DEPTH: usize = 32;

/// A part of an expression with its bytes, those of brackets around it included.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) shape: Shape,
    depth: usize,
}

#[derive(Debug)]
pub(super) enum Shape {
    Number(f64),
    Text(String),
    Flag(bool),
    /// A duration written without its function; already told.
    Bare(Span),
    /// A dotted name.
    Fact(String),
    /// Something already told to be wrong.
    Wrong,
    Not(Box<Node>),
    Negated(Box<Node>),
    /// A chain of `||` or of `&&`.
    Logic(Logic, Vec<Node>),
    /// The bytes are those of the operator, here and below.
    Compared(Relation, Range<usize>, Box<(Node, Node)>),
    Calculated(Arithmetic, Range<usize>, Box<(Node, Node)>),
    In(Range<usize>, Box<Node>, Vec<Node>),
    Choice(Box<(Node, Node, Node)>),
    /// `name(…)` or `receiver.name(…)`; the bytes are those of the name.
    Call(String, Range<usize>, Option<Box<Node>>, Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logic {
    Any,
    All,
}

impl Logic {
    pub(super) fn written(self) -> &'static str {
        match self {
            Logic::Any => "||",
            Logic::All => "&&",
        }
    }
}

/// Reads an expression; `None` where it was told why it cannot be read.
pub(super) fn parse(text: &str, told: &mut Told) -> Option<Node> {
    let lexemes = tokens(text, told)?;
    let mut parser = Parser { text, lexemes: &lexemes, at: 0, nested: 0, told };
    if parser.peek() == &Token::End {
        parser.told.error("M100", &(0..text.len()), "a condition is missing", "write one, such as `touchpoint.nps >= 9`");
        return None;
    }
    let node = parser.choice()?;
    if parser.peek() != &Token::End {
        parser.left_over();
        return None;
    }
    Some(node)
}

struct Parser<'a> {
    text: &'a str,
    lexemes: &'a [Lexeme],
    at: usize,
    /// How many brackets, signs and outcomes are open.
    nested: usize,
    told: &'a mut Told,
}

/// Words for operators, and the operators.
const WORDS: &[(&str, Symbol, &str)] = &[
    ("and", Symbol::And, "&&"),
    ("or", Symbol::Or, "||"),
    ("is", Symbol::Equal, "=="),
    ("equals", Symbol::Equal, "=="),
    ("eq", Symbol::Equal, "=="),
    ("div", Symbol::Divide, "/"),
];

const RELATIONS: &[(Symbol, Relation)] = &[
    (Symbol::Equal, Relation::Equal),
    (Symbol::NotEqual, Relation::NotEqual),
    (Symbol::Less, Relation::Less),
    (Symbol::AtMost, Relation::AtMost),
    (Symbol::More, Relation::More),
    (Symbol::AtLeast, Relation::AtLeast),
];

impl Parser<'_> {
    fn lexeme(&self) -> &Lexeme {
        // The last token is the end, and nothing goes beyond it.
        &self.lexemes[self.at.min(self.lexemes.len() - 1)]
    }

    fn peek(&self) -> &Token {
        &self.lexeme().token
    }

    fn span(&self) -> Range<usize> {
        self.lexeme().span.clone()
    }

    fn word(&self) -> Option<&str> {
        matches!(self.peek(), Token::Word).then(|| &self.text[self.span()])
    }

    fn take(&mut self, symbol: Symbol) -> Option<Range<usize>> {
        let found = matches!(self.peek(), Token::Symbol(other) if *other == symbol);
        found.then(|| {
            let span = self.span();
            self.at += 1;
            span
        })
    }

    fn follows(&self, symbol: Symbol) -> bool {
        self.lexemes.get(self.at + 1).is_some_and(|next| next.token == Token::Symbol(symbol))
    }

    /// An operator at this place; a word for one is told and read as meant.
    fn operator(&mut self, wanted: &[Symbol]) -> Option<(Symbol, Range<usize>)> {
        if let Token::Symbol(symbol) = self.peek() {
            let symbol = *symbol;
            return wanted.contains(&symbol).then(|| (symbol, self.take(symbol).unwrap_or_default()));
        }
        let word = self.word()?.to_ascii_lowercase();
        let (_, symbol, sign) = WORDS.iter().find(|(name, symbol, _)| *name == word && wanted.contains(symbol))?;
        let span = self.span();
        self.told.error(
            "M100",
            &span,
            format!("{} is not an operator of conditions", quoted(&word)),
            format!("write `{sign}`"),
        );
        self.at += 1;
        Some((*symbol, span))
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.nested >= MAX_DEPTH {
            let span = self.span();
            self.too_deep(&span);
            return None;
        }
        self.nested += 1;
        let result = read(self);
        self.nested -= 1;
        result
    }

    fn too_deep(&mut self, at: &Range<usize>) {
        let cause = format!("a condition may be nested {MAX_DEPTH} levels deep, and this is deeper");
        self.told.error("M105", at, cause, "give a part of it a name, as a group with a condition or a segment");
    }

    fn node(&mut self, span: Range<usize>, depth: usize, at: &Range<usize>, shape: Shape) -> Option<Node> {
        if depth > MAX_DEPTH {
            self.too_deep(at);
            return None;
        }
        Some(Node { span, shape, depth })
    }

    fn choice(&mut self) -> Option<Node> {
        let condition = self.logic(Logic::Any)?;
        let Some(at) = self.take(Symbol::Question) else { return Some(condition) };
        let yes = self.deeper(Self::choice)?;
        if self.take(Symbol::Colon).is_none() {
            let help = "write `CONDITION ? A : B`, A where it holds and B where it does not";
            self.told.error("M100", &at, "this `?` has no `:`", help);
            return None;
        }
        let no = self.deeper(Self::choice)?;
        let depth = 1 + condition.depth.max(yes.depth).max(no.depth);
        let span = condition.span.start..no.span.end;
        self.node(span, depth, &at, Shape::Choice(Box::new((condition, yes, no))))
    }

    fn logic(&mut self, logic: Logic) -> Option<Node> {
        let symbol = match logic {
            Logic::Any => Symbol::Or,
            Logic::All => Symbol::And,
        };
        let next = |parser: &mut Self| match logic {
            Logic::Any => parser.logic(Logic::All),
            Logic::All => parser.relation(),
        };
        let first = next(self)?;
        let mut at = first.span.clone();
        let mut terms = vec![first];
        while let Some((_, span)) = self.operator(&[symbol]) {
            at = span;
            terms.push(next(self)?);
        }
        if terms.len() == 1 {
            return terms.pop();
        }
        let depth = 1 + terms.iter().map(|term| term.depth).max().unwrap_or(0);
        let span = terms[0].span.start..terms[terms.len() - 1].span.end;
        self.node(span, depth, &at, Shape::Logic(logic, terms))
    }

    fn relation(&mut self) -> Option<Node> {
        let mut left = self.sum()?;
        loop {
            let found = RELATIONS.iter().find_map(|(symbol, relation)| Some((*relation, self.operator(&[*symbol])?.1)));
            if let Some((relation, at)) = found {
                let right = self.sum()?;
                left = self.binary(left, right, &at, |sides| Shape::Compared(relation, at.clone(), sides))?;
                continue;
            }
            match self.word().map(str::to_ascii_lowercase).as_deref() {
                Some("in") => left = self.within(left)?,
                Some("not") if self.lexemes.get(self.at + 1).is_some_and(|next| &self.text[next.span.clone()] == "in") => {
                    let at = self.span().start..self.lexemes[self.at + 1].span.end;
                    self.told.error("M100", &at, "`not in` is not an operator of conditions", "write `!(FACT in [...])`");
                    self.at += 1;
                    left = self.within(left)?;
                }
                Some(_) | None => return Some(left),
            }
        }
    }

    fn within(&mut self, left: Node) -> Option<Node> {
        let at = self.span();
        self.at += 1;
        let Some(open) = self.take(Symbol::OpenList) else {
            let right = self.sum()?;
            let help = "write the values in brackets: `in [\"a\", \"b\"]`";
            self.told.error("M102", &right.span, "`in` needs a list", help);
            let span = left.span.start..right.span.end;
            return self.node(span, left.depth + 1, &at, Shape::Wrong);
        };
        let (items, end) = self.items(&open, Symbol::CloseList, "]")?;
        let depth = 1 + items.iter().map(|item| item.depth).max().unwrap_or(0).max(left.depth);
        let span = left.span.start..end;
        self.node(span, depth, &at.clone(), Shape::In(at, Box::new(left), items))
    }

    fn sum(&mut self) -> Option<Node> {
        let mut left = self.product()?;
        while let Some((symbol, at)) = self.operator(&[Symbol::Plus, Symbol::Minus]) {
            let right = self.product()?;
            let arithmetic = if symbol == Symbol::Plus { Arithmetic::Plus } else { Arithmetic::Minus };
            left = self.binary(left, right, &at, |sides| Shape::Calculated(arithmetic, at.clone(), sides))?;
        }
        Some(left)
    }

    fn product(&mut self) -> Option<Node> {
        let mut left = self.sign()?;
        while let Some((symbol, at)) = self.operator(&[Symbol::Times, Symbol::Divide]) {
            let right = self.sign()?;
            let arithmetic = if symbol == Symbol::Times { Arithmetic::Times } else { Arithmetic::Divided };
            left = self.binary(left, right, &at, |sides| Shape::Calculated(arithmetic, at.clone(), sides))?;
        }
        Some(left)
    }

    fn binary(
        &mut self,
        left: Node,
        right: Node,
        at: &Range<usize>,
        shape: impl FnOnce(Box<(Node, Node)>) -> Shape,
    ) -> Option<Node> {
        let depth = 1 + left.depth.max(right.depth);
        let span = left.span.start..right.span.end;
        self.node(span, depth, at, shape(Box::new((left, right))))
    }

    fn sign(&mut self) -> Option<Node> {
        let at = self.span();
        let not_in_words = self.word().is_some_and(|word| word.eq_ignore_ascii_case("not")) && !self.follows(Symbol::Dot);
        if not_in_words {
            self.told.error("M100", &at, "`not` is not an operator of conditions", "write `!`, such as `!(A && B)`");
            self.at += 1;
        }
        if not_in_words || self.take(Symbol::Not).is_some() {
            let inner = self.deeper(Self::sign)?;
            let (span, depth) = (at.start..inner.span.end, inner.depth + 1);
            return self.node(span, depth, &at, Shape::Not(Box::new(inner)));
        }
        if self.take(Symbol::Minus).is_some() {
            let inner = self.deeper(Self::sign)?;
            let (span, depth) = (at.start..inner.span.end, inner.depth + 1);
            return self.node(span, depth, &at, Shape::Negated(Box::new(inner)));
        }
        self.member()
    }

    /// A value and the functions called on it.
    fn member(&mut self) -> Option<Node> {
        let mut node = self.primary()?;
        loop {
            let start = node.span.start;
            if let Some(open) = self.take(Symbol::OpenList) {
                let help = "name the fact with a dot: `touchpoint.nps`";
                self.told.error("M106", &open, "looking into a value with `[…]` is not part of the language", help);
                return None;
            }
            if self.take(Symbol::Dot).is_none() {
                return Some(node);
            }
            let at = self.span();
            let Some(name) = self.word().map(str::to_owned) else {
                self.unexpected();
                return None;
            };
            self.at += 1;
            let Some(open) = self.take(Symbol::Open) else {
                let cause = format!("only facts have parts, so {} cannot stand here", quoted(&name));
                self.told.error("M106", &at, cause, "call a function of texts, such as `.contains(\"a\")`");
                return None;
            };
            let (arguments, end) = self.items(&open, Symbol::Close, ")")?;
            let depth = 1 + arguments.iter().map(|item| item.depth).max().unwrap_or(0).max(node.depth);
            node = self.node(start..end, depth, &at.clone(), Shape::Call(name, at, Some(Box::new(node)), arguments))?;
        }
    }

    fn primary(&mut self) -> Option<Node> {
        let span = self.span();
        let shape = match self.peek() {
            Token::Number(number) => Shape::Number(*number),
            Token::Text(text) => Shape::Text(text.clone()),
            Token::Bare(duration) => Shape::Bare(*duration),
            Token::Word => return self.named(),
            Token::Symbol(Symbol::Open) => return self.bracketed(),
            Token::Symbol(Symbol::OpenList) => {
                self.told.error("M106", &span, "a list can only stand after `in`", "write `FACT in [\"a\", \"b\"]`");
                self.at += 1;
                let (_, end) = self.items(&span, Symbol::CloseList, "]")?;
                return self.node(span.start..end, 1, &span, Shape::Wrong);
            }
            Token::Symbol(_) | Token::End => {
                self.unexpected();
                return None;
            }
        };
        self.at += 1;
        self.node(span.clone(), 1, &span, shape)
    }

    fn bracketed(&mut self) -> Option<Node> {
        let open = self.span();
        self.at += 1;
        let inner = self.deeper(Self::choice)?;
        if let Some(close) = self.take(Symbol::Close) {
            return Some(Node { span: open.start..close.end, ..inner });
        }
        if self.peek() == &Token::End {
            self.told.error("M100", &open, "this bracket is never closed", "add `)` where it ends");
        } else if self.take(Symbol::Comma).is_some() {
            self.told.error("M100", &open, "a list of values stands in square brackets", "write `in [\"a\", \"b\"]`");
        } else {
            self.left_over();
        }
        None
    }

    /// A fact, a flag or a call.
    fn named(&mut self) -> Option<Node> {
        let at = self.span();
        let word = self.text[at.clone()].to_owned();
        let dotted = self.follows(Symbol::Dot);
        if word == "in" && !dotted {
            self.unexpected();
            return None;
        }
        self.at += 1;
        if let Some(open) = self.take(Symbol::Open) {
            let (arguments, end) = self.items(&open, Symbol::Close, ")")?;
            let depth = 1 + arguments.iter().map(|item| item.depth).max().unwrap_or(0);
            return self.node(at.start..end, depth, &at.clone(), Shape::Call(word, at, None, arguments));
        }
        if !dotted && (word == "true" || word == "false") {
            return self.node(at.clone(), 1, &at, Shape::Flag(word == "true"));
        }
        if word.eq_ignore_ascii_case("if") && matches!(self.peek(), Token::Word) {
            self.told.error("M106", &at, "`if` is not part of the language", "write `CONDITION ? A : B`");
            return None;
        }
        let (mut name, mut span) = (word, at);
        while matches!(self.peek(), Token::Symbol(Symbol::Dot)) {
            let part = self.lexemes.get(self.at + 1).filter(|next| next.token == Token::Word);
            let Some(part) = part else { break };
            let call = self.lexemes.get(self.at + 2).is_some_and(|next| next.token == Token::Symbol(Symbol::Open));
            if call {
                break;
            }
            name = format!("{name}.{}", &self.text[part.span.clone()]);
            span.end = part.span.end;
            self.at += 2;
        }
        self.node(span.clone(), 1, &span, Shape::Fact(name))
    }

    /// Values between commas up to the closing bracket, and where that ends.
    fn items(&mut self, open: &Range<usize>, close: Symbol, sign: &str) -> Option<(Vec<Node>, usize)> {
        let mut items = Vec::new();
        loop {
            if let Some(end) = self.take(close) {
                return Some((items, end.end));
            }
            if self.peek() == &Token::End {
                self.told.error("M100", open, "this bracket is never closed", format!("add `{sign}` where it ends"));
                return None;
            }
            items.push(self.deeper(Self::choice)?);
            let more = self.take(Symbol::Comma).is_some();
            let ended = matches!(self.peek(), Token::Symbol(symbol) if *symbol == close) || self.peek() == &Token::End;
            if !more && !ended {
                self.left_over();
                return None;
            }
        }
    }

    /// A value was expected here.
    fn unexpected(&mut self) {
        let span = self.span();
        let before = self.at.checked_sub(1).map(|at| self.lexemes[at].span.clone());
        match (self.peek(), before) {
            (Token::End, Some(before)) => {
                let cause = format!("something is missing after {}", quoted(&self.text[before.clone()]));
                self.told.error("M100", &before, cause, "write a fact, a number, a text in quotes or a bracket there");
            }
            _ => {
                let cause = format!("{} cannot stand here", quoted(&self.text[span.clone()]));
                self.told.error("M100", &span, cause, "write a fact, a number, a text in quotes or a bracket here");
            }
        }
    }

    /// A value is complete, and something follows that joins nothing.
    fn left_over(&mut self) {
        let span = self.span();
        let written = self.text[span.clone()].to_owned();
        let shown = quoted(&written);
        let (cause, help) = match self.peek() {
            Token::Symbol(Symbol::Close | Symbol::CloseList) => {
                (format!("{shown} closes no bracket"), "remove it, or open the bracket".to_owned())
            }
            Token::Word if matches!(written.as_str(), "contains" | "startsWith" | "endsWith") => {
                (format!("{shown} is a function of a text"), format!("write `FACT.{written}(\"…\")`"))
            }
            Token::Word if matches!(written.as_str(), "between" | "like" | "matches" | "then" | "else") => (
                format!("{shown} is not part of the language"),
                "compare with `<`, `>`, `==` or `.contains(\"…\")`".to_owned(),
            ),
            Token::Symbol(Symbol::Colon) => {
                (format!("{shown} stands without its `?`"), "write `CONDITION ? A : B`".to_owned())
            }
            Token::Number(_) | Token::Text(_) | Token::Bare(_) | Token::Word | Token::Symbol(Symbol::Open) => {
                (format!("an operator is missing before {shown}"), "join conditions with `&&` or `||`".to_owned())
            }
            Token::Symbol(_) | Token::End => {
                (format!("{shown} cannot stand here"), "remove it, or join conditions with `&&` or `||`".to_owned())
            }
        };
        let code = if cause.ends_with("not part of the language") { "M106" } else { "M100" };
        self.told.error(code, &span, cause, help);
    }
}
