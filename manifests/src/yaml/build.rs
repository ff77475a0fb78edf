//! Building the tree of a file from the events of the YAML parser, without recursion and within limits.
//!
//! The limits are on what a file can make a reader do, not on taste: a manifest of 10,000 nodes uses a tenth of each. A
//! file past a limit is refused where it passes it; nothing after that is read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as ParserSpan, Tag};

use super::stretch::{MAX_STRETCH, Meter, Stretch};
use super::{Entry, Kind, Mapping, Scalar, Value};
use crate::diagnostic::{Code, Diagnostic, Report, Source, Span, quote_key};

/// The most bytes that are read. A manifest of 10,000 nodes, all keys used and commented, has under 3 MiB.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The deepest nesting of lists and mappings. A manifest has five levels, a spec seven; what walks the tree may recurse.
pub const MAX_NESTING: usize = 64;

/// The most values, keys and copies by alias included. A manifest of 10,000 nodes, all keys used, has 260,000.
pub const MAX_VALUES: usize = 500_000;

/// The most aliases: one for each of 10,000 nodes, and as many again.
pub const MAX_ALIASES: usize = 20_000;

/// From how many keys on a mapping's keys are looked up in a set and not one by one.
const SMALL: usize = 16;

/// YAML 1.1's merge key, by which a mapping takes over the entries of another.
const MERGE: &str = "<<";

/// A file's bytes as text, or why they are none that is read.
pub fn text<'t>(file: &str, bytes: &'t [u8]) -> Result<&'t str, Box<Diagnostic>> {
    let refuse = |code, span, message: String, hint: &str| {
        let mut report = Report::new(Source::secret(file, ""));
        report.error(code, span, message).hint(hint);
        report.into_diagnostics().pop().map_or(Ok(""), |diagnostic| Err(Box::new(diagnostic)))
    };
    if bytes.len() > MAX_BYTES {
        return refuse(Code::TooLarge, Span::START, too_large(bytes.len()), SPLIT);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let valid = std::str::from_utf8(valid).unwrap_or_default();
            let span = Span {
                line: narrow(valid.matches('\n').count() + 1),
                column: narrow(valid.rsplit('\n').next().unwrap_or_default().chars().count() + 1),
                width: 1,
            };
            refuse(Code::NotText, span, "the file is not UTF-8 text".into(), "save it with the encoding UTF-8")
        }
    }
}

const SPLIT: &str = "no file of this kind needs that much; split it";

fn too_large(bytes: usize) -> String {
    format!("the file has {bytes} bytes, more than the {MAX_BYTES} that are read")
}

/// Reads the report's file into a tree: one document, empty files being null. What is wrong goes to the report; none
/// where the file could not be read to its end. A tree may come with errors: a key that stands twice, a tag.
pub fn read(report: &mut Report<'_>) -> Option<Value> {
    let text = report.source().text();
    if text.len() > MAX_BYTES {
        report.error(Code::TooLarge, Span::START, too_large(text.len())).hint(SPLIT);
        return None;
    }
    let meter = Meter::default();
    let (characters, marked) = Stretch::new(text.strip_prefix('\u{feff}').unwrap_or(text), &meter);
    let mut builder =
        Builder { report, marked, stack: Vec::new(), anchors: HashMap::new(), values: 0, aliases: 0, root: None };
    let mut last = Span::START;
    for event in Parser::new_from_iter(characters) {
        if meter.overrun() {
            builder.too_long(last);
            return None;
        }
        meter.yielded();
        match event {
            Ok((event, span)) => {
                last = builder.span(span);
                builder.event(event, last).ok()?;
            }
            Err(error) => {
                builder.syntax(&error);
                return None;
            }
        }
    }
    Some(builder.root.unwrap_or_else(|| null(Span::START)))
}

fn null(span: Span) -> Value {
    Value { span, kind: Kind::Scalar(Scalar::new("", true)) }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The file is refused and the reason reported.
struct Refused;

/// A list or mapping that is not closed yet.
struct Frame {
    span: Span,
    anchor: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Value>),
    Mapping { mapping: Mapping, key: Option<(Arc<str>, Span)>, seen: HashSet<Arc<str>> },
}

struct Builder<'r, 't> {
    report: &'r mut Report<'t>,
    /// The line whose columns are shifted by the mark put in front of JSON.
    marked: Option<usize>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Value>,
    values: usize,
    aliases: usize,
    root: Option<Value>,
}

impl Builder<'_, '_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Refused> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.one_document(span),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !self.is_text(tag.as_deref(), span);
                self.count(1, span)?;
                self.complete(Value { span, kind: Kind::Scalar(Scalar::new(&text, plain)) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", span);
                self.open(Content::Sequence(Vec::new()), anchor, span)
            }
            Event::MappingStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", span);
                let content = Content::Mapping { mapping: Mapping::default(), key: None, seen: HashSet::new() };
                self.open(content, anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, span),
        }
    }

    fn one_document(&mut self, span: Span) -> Result<(), Refused> {
        if self.root.is_none() {
            return Ok(());
        }
        self.report
            .error(Code::SecondDocument, span, "a second document starts here, and a file is one document")
            .hint("put it in a file of its own, or remove the `---`");
        Err(Refused)
    }

    fn open(&mut self, content: Content, anchor: usize, span: Span) -> Result<(), Refused> {
        self.count(1, span)?;
        self.nest(1, span)?;
        self.stack.push(Frame { span, anchor, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Refused> {
        let Some(Frame { span, anchor, content }) = self.stack.pop() else { return Ok(()) };
        let kind = match content {
            Content::Sequence(items) => Kind::Sequence(items),
            Content::Mapping { mapping, .. } => Kind::Mapping(self.merge(mapping)?),
        };
        self.complete(Value { span, kind }, anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Refused> {
        self.aliases += 1;
        if self.aliases > MAX_ALIASES {
            self.report
                .error(Code::TooManyAliases, span, format!("more than {MAX_ALIASES} aliases"))
                .hint("write the values out");
            return Err(Refused);
        }
        let Some(value) = self.anchors.get(&anchor) else {
            self.report
                .error(Code::Unsupported, span, "this alias stands within what it stands for")
                .hint("write the value out");
            return Err(Refused);
        };
        let (values, depth) = measure(value);
        self.count(values, span)?;
        self.nest(depth, span)?;
        match self.anchors.get(&anchor).cloned() {
            Some(value) => self.complete(value, 0),
            None => Ok(()),
        }
    }

    /// A value is complete: it goes where it belongs.
    fn complete(&mut self, value: Value, anchor: usize) -> Result<(), Refused> {
        if anchor > 0 {
            self.count(measure(&value).0, value.span)?;
            self.anchors.insert(anchor, value.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        match &mut frame.content {
            Content::Sequence(items) => items.push(value),
            Content::Mapping { mapping, key, seen } => match key.take() {
                Some((key, key_span)) => {
                    if let Some(first) = first_of(mapping, seen, &key) {
                        self.report
                            .error(
                                Code::DuplicateKey,
                                key_span,
                                format!("the key {} stands twice in one mapping", quote_key(&key)),
                            )
                            .hint(format!("the first is on line {}; remove one of the two", first.line));
                    } else {
                        mapping.entries.push(Entry { key, key_span, value });
                    }
                }
                None => match &value.kind {
                    Kind::Scalar(scalar) => *key = Some((scalar.shared(), value.span)),
                    _ => {
                        self.report
                            .error(Code::Unsupported, value.span, format!("{} as a key", value.describe()))
                            .hint("a key is a single word; text with brackets or braces in front goes in quotes");
                        return Err(Refused);
                    }
                },
            },
        }
        Ok(())
    }

    /// Takes over the entries of what a mapping's merge key names; its own entries win, then those of what is named first.
    fn merge(&mut self, mut mapping: Mapping) -> Result<Mapping, Refused> {
        let Some(at) = mapping.entries.iter().position(|entry| &*entry.key == MERGE) else { return Ok(mapping) };
        let merged = mapping.entries.remove(at);
        let sources = match merged.value.kind {
            Kind::Sequence(items) => items,
            kind => vec![Value { span: merged.value.span, kind }],
        };
        let mut seen: HashSet<Arc<str>> = mapping.entries.iter().map(|entry| Arc::clone(&entry.key)).collect();
        for source in sources {
            let Kind::Mapping(source) = source.kind else {
                self.report
                    .error(Code::WrongType, source.span, format!("`<<` merges mappings, not {}", source.describe()))
                    .hint("name a mapping by its alias: `<<: *defaults`");
                return Err(Refused);
            };
            mapping.entries.extend(source.entries.into_iter().filter(|entry| seen.insert(Arc::clone(&entry.key))));
        }
        Ok(mapping)
    }

    fn count(&mut self, values: usize, span: Span) -> Result<(), Refused> {
        self.values = self.values.saturating_add(values);
        if self.values <= MAX_VALUES {
            return Ok(());
        }
        self.report
            .error(Code::TooManyValues, span, format!("more than {MAX_VALUES} values, aliases counted in full"))
            .hint(SPLIT);
        Err(Refused)
    }

    fn nest(&mut self, levels: usize, span: Span) -> Result<(), Refused> {
        if self.stack.len() + levels <= MAX_NESTING {
            return Ok(());
        }
        self.report
            .error(Code::TooNested, span, format!("lists and mappings nested deeper than {MAX_NESTING} levels"))
            .hint("no file of this kind nests that deep; look for a bracket that is not closed");
        Err(Refused)
    }

    /// Whether a tag makes a plain value text.
    fn is_text(&mut self, tag: Option<&Tag>, span: Span) -> bool {
        let Some(tag) = tag else { return false };
        match (tag.is_yaml_core_schema(), tag.suffix.as_str()) {
            (true, "str") => true,
            (true, "null" | "bool" | "int" | "float") => false,
            _ if tag.handle.is_empty() && tag.suffix == "!" => true,
            _ => self.unknown_tag(tag, span),
        }
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, core: &str, span: Span) {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema() || tag.suffix != core) {
            self.unknown_tag(tag, span);
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, span: Span) -> bool {
        let shown = quote_key(&tag.to_string());
        self.report.error(Code::Unsupported, span, format!("the tag {shown} is not known here")).hint("remove the tag");
        false
    }

    fn syntax(&mut self, error: &ScanError) {
        let span = self.span(ParserSpan::empty(*error.marker()));
        // The parser has a limit of its own on brackets, 255, which it meets first where the brackets may be keys.
        if error.info().contains("recursion limit") {
            let _ = self.nest(MAX_NESTING + 1, span);
            return;
        }
        let hint = match error.info() {
            info if info.contains("tab") => "indent with spaces",
            info if info.contains("Unicode character escape") => "write the character itself instead of \\u escapes",
            info if info.contains("unknown anchor") => "an alias (`*name`) needs an anchor (`&name`) in front of it",
            info if info.contains("byte order mark") => "remove it; only the very start of a file may have one",
            _ => "look at the indentation, and put text that holds `: `, ` #` or brackets in quotes",
        };
        self.report.error(Code::Syntax, span, format!("this is not YAML: {}", error.info())).hint(hint);
    }

    fn too_long(&mut self, span: Span) {
        self.report
            .error(Code::TooLong, span, format!("what follows here goes on for more than {MAX_STRETCH} characters"))
            .hint("write long lists in block style, one `- item` a line");
    }

    fn span(&self, span: ParserSpan) -> Span {
        let line = span.start.line();
        let one_line = span.end.line() == line && span.end.col() > span.start.col();
        let width = if one_line { span.end.col() - span.start.col() } else { 1 };
        let shift = if self.marked == Some(line) { Stretch::shift() } else { 0 };
        Span {
            line: narrow(line),
            column: narrow((span.start.col() + 1).saturating_sub(shift).max(1)),
            width: narrow(width),
        }
    }
}

/// Where `key` stands already; otherwise remembers it.
fn first_of(mapping: &Mapping, seen: &mut HashSet<Arc<str>>, key: &Arc<str>) -> Option<Span> {
    let entries = &mapping.entries;
    if entries.len() > SMALL {
        if seen.is_empty() {
            seen.extend(entries.iter().map(|entry| Arc::clone(&entry.key)));
        }
        if seen.insert(Arc::clone(key)) {
            return None;
        }
    }
    entries.iter().find(|entry| entry.key == *key).map(|entry| entry.key_span)
}

/// How many values this is, keys included, and how deep lists and mappings are nested in it. Recurses no deeper than
/// [`MAX_NESTING`], which holds for every value there is.
fn measure(value: &Value) -> (usize, usize) {
    let of = |(values, depth): (usize, usize), inner: &Value| {
        let (more, below) = measure(inner);
        (values + more, depth.max(below))
    };
    let (values, depth) = match &value.kind {
        Kind::Scalar(_) => return (1, 0),
        Kind::Sequence(items) => items.iter().fold((1, 0), of),
        Kind::Mapping(mapping) => mapping.entries.iter().fold((1, 0), |sum, entry| {
            let (values, depth) = of(sum, &entry.value);
            (values + 1, depth)
        }),
    };
    (values, depth + 1)
}
