//! Holds the engine, and the crate of the RFCs beneath it, to the layers in `plugin/docs/architecture.md`: no import runs
//! upwards, and no rooms import each other in a circle. A room is a file or folder at the top of `src`. Code for tests is left
//! out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken test must stop loudly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const MOST_LINES: usize = 120;
/// The layers that are the crate `plugin/http`. Its files and rooms have `http` in front here.
const OF_HTTP: [&str; 2] = ["http", "ground"];

/// One name that a file takes from another room.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Import {
    file: String,
    line: usize,
    from: String,
    to: String,
    path: String,
}

impl Import {
    fn told(&self) -> String {
        format!("{}:{}: {}", source_of(&self.file), self.line, self.path)
    }
}

fn engine() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(engine().join("../docs/architecture.md")).unwrap()
}

/// Where a file is, in `plugin`.
fn source_of(file: &str) -> String {
    match file.strip_prefix("http/") {
        Some(within) => format!("http/src/{within}"),
        None => format!("engine/src/{file}"),
    }
}

/// The files of both crates, by their path in `src`, without those for tests.
fn files() -> BTreeMap<String, String> {
    fn walk(folder: &Path, root: &Path, before: &str, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if name == "tests" || name == "fake" {
                continue;
            }
            if path.is_dir() {
                walk(&path, root, before, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let within = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                found.insert(format!("{before}{within}"), fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    for (root, before) in [("src", ""), ("../http/src", "http/")] {
        let root = engine().join(root);
        walk(&root, &root, before, &mut found);
        found.remove(&format!("{before}lib.rs"));
    }
    found
}

fn module_of(file: &str) -> Vec<String> {
    file.trim_end_matches(".rs").split('/').map(str::to_owned).collect()
}

/// The room that a path leads to or a file is in.
fn room_of(path: &[String]) -> Option<String> {
    match path {
        [first, second, ..] if first == "http" => Some(format!("http::{second}")),
        [first, ..] => Some(first.clone()),
        [] => None,
    }
}

/// Words and signs of a source with their lines: no comments, no texts, no characters.
fn tokens(source: &str) -> Vec<(String, usize)> {
    let signs: Vec<char> = source.chars().collect();
    let at = |index: usize| signs.get(index).copied().unwrap_or('\0');
    let (mut out, mut index, mut line) = (Vec::new(), 0, 1);
    while index < signs.len() {
        let begin = index;
        match at(index) {
            '/' if at(index + 1) == '/' => {
                while index < signs.len() && at(index) != '\n' {
                    index += 1;
                }
            }
            '/' if at(index + 1) == '*' => {
                while index < signs.len() && (at(index), at(index + 1)) != ('*', '/') {
                    index += 1;
                }
                index += 2;
            }
            '"' => {
                index += 1;
                while index < signs.len() && at(index) != '"' {
                    index += if at(index) == '\\' { 2 } else { 1 };
                }
                index += 1;
            }
            '\'' if at(index + 1) == '\\' => {
                index += 3;
                while index < signs.len() && at(index) != '\'' {
                    index += 1;
                }
                index += 1;
            }
            '\'' if at(index + 2) == '\'' => index += 3,
            sign if sign.is_alphanumeric() || sign == '_' => {
                while at(index).is_alphanumeric() || at(index) == '_' {
                    index += 1;
                }
                let word: String = signs[begin..index].iter().collect();
                let hashes = (index..).take_while(|index| at(*index) == '#').count();
                if matches!(&*word, "r" | "br" | "cr") && at(index + hashes) == '"' {
                    index += hashes + 1;
                    let ends =
                        |index: usize| at(index) == '"' && (1..=hashes).all(|hash| at(index + hash) == '#');
                    while index < signs.len() && !ends(index) {
                        index += 1;
                    }
                    index += hashes + 1;
                } else {
                    out.push((word, line));
                }
            }
            ':' if at(index + 1) == ':' => {
                out.push(("::".into(), line));
                index += 2;
            }
            sign => {
                if !sign.is_whitespace() {
                    out.push((sign.into(), line));
                }
                index += 1;
            }
        }
        line += signs[begin..index.min(signs.len())].iter().filter(|sign| **sign == '\n').count();
    }
    out
}

/// Without the items under `#[cfg(test)]`.
fn without_tests(tokens: &[(String, usize)]) -> Vec<(String, usize)> {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut out, mut index) = (Vec::new(), 0);
    while index < tokens.len() {
        let is_mark = mark
            .iter()
            .enumerate()
            .all(|(nth, word)| tokens.get(index + nth).is_some_and(|(token, _)| token == word));
        if !is_mark {
            out.push(tokens[index].clone());
            index += 1;
            continue;
        }
        let mut depth = 0;
        while index < tokens.len() {
            let token = &*tokens[index].0;
            index += 1;
            depth += i32::from(token == "{") - i32::from(token == "}");
            if depth == 0 && matches!(token, ";" | "}") {
                break;
            }
        }
    }
    out
}

/// The names at the ends of the tree of a path that goes on at `index`; gives where it ends.
fn ends_of(
    tokens: &[(String, usize)],
    mut index: usize,
    path: &[String],
    found: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    let Some((token, line)) = tokens.get(index) else { return index };
    if token == "{" {
        index += 1;
        while let Some((token, _)) = tokens.get(index) {
            match &**token {
                "}" => return index + 1,
                "," => index += 1,
                _ => index = ends_of(tokens, index, path, found).max(index + 1),
            }
        }
        return index;
    }
    let mut path = path.to_vec();
    match &**token {
        "super" => drop(path.pop()),
        "self" => {}
        name => path.push(name.to_owned()),
    }
    let goes_on = tokens.get(index + 1).is_some_and(|(token, _)| token == "::")
        && tokens.get(index + 2).is_some_and(|(token, _)| token != "<");
    if goes_on {
        return ends_of(tokens, index + 2, &path, found);
    }
    found.push((path, *line));
    let is_renamed = tokens.get(index + 1).is_some_and(|(token, _)| token == "as");
    index + if is_renamed { 3 } else { 1 }
}

/// What a file takes from other rooms.
fn imports_of(file: &str, source: &str) -> Vec<Import> {
    let module = module_of(file);
    let http = ["http".to_owned()];
    let tokens = without_tests(&tokens(source));
    let mut found = Vec::new();
    for (index, (token, _)) in tokens.iter().enumerate() {
        let begins = tokens.get(index + 1).is_some_and(|(token, _)| token == "::")
            && index.checked_sub(1).is_none_or(|before| tokens[before].0 != "::");
        let base = match &**token {
            "crate" if module[0] != "http" => &[][..],
            "crate" | "selvage_http" => &http[..],
            "self" => &module[..],
            "super" => &module[..module.len() - 1],
            _ => continue,
        };
        if begins {
            ends_of(&tokens, index + 2, base, &mut found);
        }
    }
    let room = room_of(&module).unwrap_or_default();
    let import = |(path, line): (Vec<String>, usize)| {
        let to = room_of(&path)?;
        (to != room && to != "*").then(|| Import {
            file: file.to_owned(),
            line,
            from: room.clone(),
            to,
            path: path.join("::"),
        })
    };
    found.into_iter().filter_map(import).collect()
}

/// The layers of the page from the ground up, each with its rooms.
fn layers(page: &str) -> Vec<(String, Vec<String>)> {
    let table = page.split("| layer | rooms | what it holds |").nth(1).expect("the table of layers");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut layers: Vec<_> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let before = if OF_HTTP.contains(&cells[1]) { "http::" } else { "" };
            let rooms =
                cells[2].split('`').skip(1).step_by(2).map(|room| format!("{before}{room}")).collect();
            (cells[1].to_owned(), rooms)
        })
        .collect();
    layers.reverse();
    layers
}

/// A circle of rooms, as one import of each step.
fn circle(imports: &[Import]) -> Option<Vec<&Import>> {
    fn follow<'a>(
        room: &str,
        imports: &'a [Import],
        way: &mut Vec<&'a Import>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(begin) = way.iter().position(|step| step.from == room) {
            way.drain(..begin);
            return true;
        }
        if done.contains(room) {
            return false;
        }
        let mut tried = BTreeSet::new();
        for import in imports.iter().filter(|import| import.from == room) {
            if tried.insert(&import.to) {
                way.push(import);
                if follow(&import.to, imports, way, done) {
                    return true;
                }
                way.pop();
            }
        }
        done.insert(room.to_owned());
        false
    }
    let rooms: BTreeSet<&str> = imports.iter().map(|import| &*import.from).collect();
    let mut done = BTreeSet::new();
    rooms.into_iter().find_map(|room| {
        let mut way = Vec::new();
        follow(room, imports, &mut way, &mut done).then_some(way)
    })
}

#[test]
fn no_import_runs_upwards_and_no_rooms_stand_in_a_circle() {
    let (files, layers) = (files(), layers(&page()));
    let mut height: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for (at, (layer, rooms)) in layers.iter().enumerate() {
        for room in rooms {
            if height.insert(room, at).is_some() {
                faults.push(format!("`{room}` stands twice in the table, again in {layer}"));
            }
        }
    }
    let rooms: BTreeSet<String> = files.keys().filter_map(|file| room_of(&module_of(file))).collect();
    faults.extend(
        rooms
            .iter()
            .filter(|room| !height.contains_key(&***room))
            .map(|room| format!("`{room}` is in no layer")),
    );
    faults.extend(
        height.keys().filter(|room| !rooms.contains(**room)).map(|room| format!("there is no room `{room}`")),
    );
    let mut imports: Vec<Import> = files.iter().flat_map(|(file, source)| imports_of(file, source)).collect();
    // What the engine has no room for it has from the crate beneath.
    for import in imports.iter_mut().filter(|import| !rooms.contains(&import.to)) {
        import.to = format!("http::{}", import.to);
    }
    assert!(imports.len() > 500, "only {} imports were found", imports.len());
    for import in &imports {
        let (Some(from), Some(to)) = (height.get(&*import.from), height.get(&*import.to)) else {
            faults.push(format!("{}: of no room in the table", import.told()));
            continue;
        };
        if to > from {
            let (lower, upper) = (&layers[*from].0, &layers[*to].0);
            faults.push(format!("{} runs upwards, from {lower} to {upper}", import.told()));
        }
    }
    if let Some(circle) = circle(&imports) {
        let steps: Vec<String> =
            circle.iter().map(|step| format!("{} -> {} by {}", step.from, step.to, step.told())).collect();
        faults.push(format!("a circle of rooms:\n  {}", steps.join("\n  ")));
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

/// Each step of a walk is `path` `function`, of the adapter, of the crate of the RFCs, or of the engine. The headings say how
/// many files there are.
#[test]
fn the_walks_of_the_page_pass_functions_that_there_are() {
    let page = page();
    assert!(page.lines().count() <= MOST_LINES, "{} lines", page.lines().count());
    let mut passed: BTreeSet<&str> = BTreeSet::new();
    for walk in page.split("\n## A ").skip(1) {
        let before = passed.len();
        for step in walk.lines().filter(|line| line.starts_with("1. `")) {
            let mut words = step.split(" — ").next().unwrap_or_default().split('`').skip(1).step_by(2);
            let file = words.next().unwrap_or_default();
            let place = if file.starts_with("plugin/") { format!("../{file}") } else { source_of(file) };
            let source = fs::read_to_string(engine().join("..").join(place));
            let source = source.unwrap_or_else(|_| panic!("no file {file}"));
            passed.insert(file);
            for name in words {
                let is_there = ["(", "<"].iter().any(|next| source.contains(&format!("fn {name}{next}")));
                assert!(is_there, "{name} is not in {file}");
            }
        }
        let said = walk.lines().next().unwrap_or_default().split(' ').find_map(|word| word.parse().ok());
        assert_eq!(
            said,
            Some(passed.len() - before),
            "files of: {}",
            walk.lines().next().unwrap_or_default()
        );
    }
    assert!(passed.len() > 40, "only {} files are passed", passed.len());
}

#[test]
fn imports_are_found_in_every_form_and_not_where_they_are_none() {
    let source = r##"
        use crate::{key::{self, hash as h}, time::Timestamp};
        use super::policy::Rule;
        // crate::comment::x
        const TEXT: &str = "crate::text::x"; const RAW: &str = r#"crate::"raw::x"#;
        fn f<'a>(x: &'a u8) -> char { crate::stats::count(); '"' }
        macro_rules! m { () => { $crate::members::x!() } }
        pub(crate) use super::super::uri;
        use selvage_http::vary::Vary;
        #[cfg(test)]
        mod tests { use crate::tests_only::X; }
        fn last() { crate::fields::of(b'\''); }
    "##;
    let found = imports_of("cache/finding.rs", source);
    let found: Vec<(&str, usize)> = found.iter().map(|import| (&*import.path, import.line)).collect();
    assert_eq!(
        found,
        [
            ("key", 2),
            ("key::hash", 2),
            ("time::Timestamp", 2),
            ("stats::count", 6),
            ("members::x", 7),
            ("uri", 8),
            ("http::vary::Vary", 9),
            ("fields::of", 12),
        ]
    );
    let found = imports_of(
        "http/time/date.rs",
        "use crate::fields::Fields; use super::Timestamp; use super::super::uri;",
    );
    assert_eq!(
        found.iter().map(|import| (&*import.from, &*import.to)).collect::<Vec<_>>(),
        [("http::time", "http::fields"), ("http::time", "http::uri")]
    );
}

#[test]
fn a_circle_is_told_by_its_steps() {
    let import = |from: &str, to: &str| Import {
        file: format!("{from}.rs"),
        line: 1,
        from: from.into(),
        to: to.into(),
        path: format!("{to}::x"),
    };
    let straight = [import("a", "b"), import("b", "c"), import("a", "c")];
    assert_eq!(circle(&straight), None);
    let round = [import("a", "b"), import("b", "c"), import("c", "d"), import("d", "b")];
    let steps = circle(&round).unwrap();
    assert_eq!(steps.iter().map(|step| &*step.from).collect::<Vec<_>>(), ["b", "c", "d"]);
}

#[test]
fn the_page_about_capabilities_shows_its_example_as_it_is() {
    let page = fs::read_to_string(engine().join("../docs/capability.md")).unwrap();
    for file in ["src/stages/teapot.rs", "tests/scenarios/teapot.rs"] {
        let source = fs::read_to_string(engine().join(file)).unwrap();
        assert!(page.contains(&format!("```rust\n{source}```")), "{file} is another");
    }
}
