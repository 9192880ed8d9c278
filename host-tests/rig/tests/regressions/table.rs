//! Reads the rows: every `rows/*.toml`, in order of their names.

use std::{fs, path::Path, sync::LazyLock};

use toml::{Table, Value};

use super::row::Row;

/// Every row.
pub static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions/rows");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    files.iter().flat_map(|file| read(file)).collect()
});

/// The rows of one file.
fn read(file: &Path) -> Vec<Row> {
    let subject = file.file_stem().unwrap().to_str().unwrap();
    let text = fs::read_to_string(file).unwrap();
    let mut table: Table = text.parse().unwrap_or_else(|problem| panic!("{subject}: {problem}"));
    let Some(Value::Array(written)) = table.remove("row") else { panic!("{subject}: no rows") };
    assert!(table.is_empty(), "{subject}: more than rows: {table}");
    let tables = written.into_iter().flat_map(|row| match row {
        Value::Table(row) => cases(row),
        other => panic!("{subject}: {other} is no row"),
    });
    let row = |(place, table): (usize, Table)| {
        let name = table.get("name").cloned();
        let row: Result<Row, _> = table.try_into();
        let mut row = row.unwrap_or_else(|problem| panic!("{subject}: {name:?}: {problem}"));
        row.path = format!("/r/{subject}/{place}");
        subject.clone_into(&mut row.subject);
        row
    };
    tables.enumerate().map(row).collect()
}

/// The rows that a written one stands for: one for each of its `cases`, whose members replace `{member}` in every text.
/// A text that is nothing but `{member}` becomes the member's value, whatever that is.
fn cases(mut row: Table) -> Vec<Table> {
    let Some(cases) = row.remove("cases") else { return vec![row] };
    let Value::Array(cases) = cases else { panic!("`cases` is a list, not {cases}") };
    let each = |case: Value| {
        let Value::Table(mut case) = case else { panic!("a case is a table, not {case}") };
        let guard = case.remove("guard");
        let Value::Table(mut filled) = filled(&Value::Table(row.clone()), &case) else { unreachable!() };
        if let Some(guard) = guard {
            filled.insert("guard".to_owned(), guard);
        }
        filled
    };
    cases.into_iter().map(each).collect()
}

fn filled(value: &Value, case: &Table) -> Value {
    match value {
        Value::String(text) => {
            let whole = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            if let Some(member) = whole.and_then(|member| case.get(member)) {
                return member.clone();
            }
            let text = case.iter().fold(text.clone(), |text, (name, member)| {
                let plain = member.as_str().map_or_else(|| member.to_string(), str::to_owned);
                text.replace(&format!("{{{name}}}"), &plain)
            });
            Value::String(text)
        }
        Value::Array(list) => Value::Array(list.iter().map(|item| filled(item, case)).collect()),
        Value::Table(table) => {
            Value::Table(table.iter().map(|(name, item)| (name.clone(), filled(item, case))).collect())
        }
        other => other.clone(),
    }
}
