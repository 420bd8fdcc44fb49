//! A source file as the rules see it: code and comments apart, line by line, and the paths and
//! functions found in the code. A lexer of a hundred lines, no parser: rustc has read it already.

/// One file.
pub(crate) struct Source {
    /// Relative to the root of the repository, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// Line by line, with comments and the insides of strings blanked out.
    pub(crate) code: Vec<String>,
    /// Line by line, the text of comments only.
    pub(crate) comments: Vec<String>,
}

/// A path such as `crate::proto::ids::Seq`, groups of a `use` spread out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) parts: Vec<String>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// From 1: that of the word `fn`.
    pub(crate) line: usize,
    pub(crate) name: String,
    /// From the word `fn` to the closing brace.
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let mut code = String::with_capacity(text.len());
        let mut comments = String::new();
        let mut lexer = Lexer {
            rest: text,
            last: ' ',
        };
        while let Some((kind, piece)) = lexer.next() {
            for character in piece.chars() {
                let (to_code, to_comments) = match (character, kind) {
                    ('\n', _) => ('\n', '\n'),
                    (_, Kind::Code) => (character, ' '),
                    (_, Kind::Comment) => (' ', character),
                    (_, Kind::Text) => (' ', ' '),
                };
                code.push(to_code);
                comments.push(to_comments);
            }
        }
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            code: code.lines().map(str::to_owned).collect(),
            comments: comments.lines().map(str::to_owned).collect(),
        }
    }

    /// True for a Rust source.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The lines (from 1) whose code holds `word`, not as a part of a longer word.
    pub(crate) fn lines_with<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let holds = move |line: &String| {
            line.match_indices(word).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let after = line[at + word.len()..].chars().next();
                !before.is_some_and(is_word) && !after.is_some_and(is_word)
            })
        };
        (1..)
            .zip(&self.code)
            .filter(move |(_, line)| holds(line))
            .map(|(number, _)| number)
    }

    /// Every path in the code.
    pub(crate) fn paths(&self) -> Vec<Path> {
        let mut found = Vec::new();
        let code: Vec<char> = self.code.join("\n").chars().collect();
        let (mut at, mut line) = (0, 1);
        while at < code.len() {
            let starts = is_word(code[at]) && !code[at].is_ascii_digit();
            if starts && (at == 0 || !is_word(code[at - 1])) {
                let mut end = at;
                read_path(&code, &mut end, line, &[], &mut found);
                line += code[at..end].iter().filter(|c| **c == '\n').count();
                at = end;
            } else {
                line += usize::from(code[at] == '\n');
                at += 1;
            }
        }
        found
    }

    /// Every function that has a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for line in self.lines_with("fn") {
            let start = self.code[line - 1]
                .match_indices("fn ")
                .find(|(at, _)| *at == 0 || !is_word(char_before(&self.code[line - 1], *at)));
            let Some((at, _)) = start else { continue };
            let name: String = self.code[line - 1][at + 3..]
                .trim_start()
                .chars()
                .take_while(|c| is_word(*c))
                .collect();
            if name.is_empty() {
                continue; // a type: `fn (..)`
            }
            if let Some(last) = end_of_body(&self.code, line - 1, at) {
                let lines = last + 2 - line;
                found.push(Function { line, name, lines });
            }
        }
        found
    }
}

fn char_before(line: &str, at: usize) -> char {
    line[..at].chars().next_back().unwrap_or(' ')
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The line (from 0) of the brace that ends the body of the function that starts here.
fn end_of_body(code: &[String], line: usize, column: usize) -> Option<usize> {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for (number, text) in code.iter().enumerate().skip(line) {
        let skip = if number == line { column } else { 0 };
        for c in text[skip..].chars() {
            match c {
                '(' | '[' => round += 1,
                ')' | ']' => round -= 1,
                '{' => curly += 1,
                '}' => {
                    curly -= 1;
                    if curly == 0 && round == 0 {
                        return Some(number);
                    }
                }
                ';' if curly == 0 && round == 0 => return None,
                _ => {}
            }
        }
    }
    None
}

/// Reads one path (or the group of a `use`) and moves `at` behind it.
fn read_path(code: &[char], at: &mut usize, line: usize, before: &[String], found: &mut Vec<Path>) {
    let mut parts = before.to_vec();
    loop {
        let start = *at;
        while *at < code.len() && is_word(code[*at]) {
            *at += 1;
        }
        if *at > start {
            parts.push(code[start..*at].iter().collect());
        }
        if code[*at..].starts_with(&[':', ':']) {
            *at += 2;
            if code.get(*at) == Some(&'{') {
                *at += 1;
                return read_group(code, at, line, &parts, found);
            }
            if code.get(*at).copied().is_some_and(is_word) {
                continue;
            }
        }
        break;
    }
    if !parts.is_empty() {
        found.push(Path { line, parts });
    }
}

fn read_group(
    code: &[char],
    at: &mut usize,
    mut line: usize,
    before: &[String],
    found: &mut Vec<Path>,
) {
    while *at < code.len() {
        match code[*at] {
            '}' => {
                *at += 1;
                return;
            }
            '\n' => {
                line += 1;
                *at += 1;
            }
            c if is_word(c) => {
                let start = *at;
                read_path(code, at, line, before, found);
                line += code[start..*at].iter().filter(|c| **c == '\n').count();
            }
            _ => *at += 1,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Code,
    Comment,
    /// The inside of a string or of a character, with its quotes.
    Text,
}

struct Lexer<'a> {
    rest: &'a str,
    last: char,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Option<(Kind, &'a str)> {
        let first = self.rest.chars().next()?;
        let (kind, length) = if self.rest.starts_with("//") {
            (
                Kind::Comment,
                self.rest.find('\n').unwrap_or(self.rest.len()),
            )
        } else if self.rest.starts_with("/*") {
            (Kind::Comment, block_comment(self.rest))
        } else if first == '"' {
            (Kind::Text, string(self.rest))
        } else if let Some(length) = raw_string(self.rest).filter(|_| !is_word(self.last)) {
            (Kind::Text, length)
        } else if let Some(length) = character(self.rest) {
            (Kind::Text, length)
        } else {
            (Kind::Code, first.len_utf8())
        };
        let (piece, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.last = piece.chars().next_back().unwrap_or(' ');
        Some((kind, piece))
    }
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of `r"..."`, `br#"..."#` and the like, if one starts here.
fn raw_string(text: &str) -> Option<usize> {
    let prefix = if text.starts_with("br") || text.starts_with("cr") {
        2
    } else {
        1
    };
    if !text.get(..prefix)?.ends_with('r') {
        return None;
    }
    let hashes = &text[prefix..];
    let count = hashes.len() - hashes.trim_start_matches('#').len();
    hashes[count..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(count));
    let body = prefix + count + 1;
    let length = text[body..].find(&end).map(|at| body + at + end.len());
    Some(length.unwrap_or(text.len()))
}

/// The length of `'x'`, if one starts here: not a lifetime.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    if let Some(escape) = inside.strip_prefix('\\') {
        let quote = escape.chars().next()?.len_utf8();
        return escape[quote..].find('\'').map(|at| at + 3 + quote);
    }
    let first = inside.chars().next()?;
    inside[first.len_utf8()..]
        .starts_with('\'')
        .then(|| first.len_utf8() + 2)
}
