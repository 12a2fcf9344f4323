//! Keeps documents and code together: the feature table against the tree, and the rules that every source file obeys.
//! Reads `docs/features.md` and the `.rs` files of the repository as text; nothing of the library runs here.
//! Each test gathers all that is wrong and fails with the list, so that one run shows everything.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The chapters of the feature table, in order: prefix of the ids and number of rows.
const CHAPTERS: [(&str, usize); 12] = [
    ("W", 34),
    ("T", 37),
    ("C", 82),
    ("R", 28),
    ("I", 42),
    ("S", 17),
    ("G", 83),
    ("P", 34),
    ("N", 8),
    ("L", 7),
    ("O", 13),
    ("H", 11),
];

/// What stands in an empty cell.
const NOTHING: &str = "–";

/// Where a file named in the table may lie: from the root, or from one of these.
const ROOTS: [&str; 3] = ["", "crates", "crates/ghostline/src"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The `.rs` files under `folder`, in order of their names. Build output and hidden folders are no part of the tree.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("a readable directory entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Every `.rs` file of the repository: the crates and the examples.
fn all_rust_files() -> Vec<PathBuf> {
    ["crates", "examples"].iter().flat_map(|folder| rust_files(&repository().join(folder))).collect()
}

fn fail_with(mistakes: &[String]) {
    assert!(mistakes.is_empty(), "{} mistakes:\n{}", mistakes.len(), mistakes.join("\n"));
}

/// A row of the feature table.
struct Row {
    id: String,
    feature: String,
    state: State,
    files: Vec<String>,
    tests: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Absent,
    AbsentByDecision,
    Partial,
    Done,
}

impl State {
    /// The two forms that take a reason must give one.
    fn parse(cell: &str) -> Result<Self, String> {
        let with_reason = |prefix: &str| cell.strip_prefix(prefix).is_some_and(|reason| !reason.trim().is_empty());
        match cell {
            "absent" => Ok(Self::Absent),
            "done" => Ok(Self::Done),
            _ if with_reason("absent by decision: ") => Ok(Self::AbsentByDecision),
            _ if with_reason("partial: ") => Ok(Self::Partial),
            _ => Err(format!("`{cell}` is no state")),
        }
    }
}

/// The names in a cell: each in backticks, separated by commas, or a dash for none.
fn names(cell: &str) -> Result<Vec<String>, String> {
    if cell == NOTHING {
        return Ok(Vec::new());
    }
    cell.split(',')
        .map(|name| {
            name.trim()
                .strip_prefix('`')
                .and_then(|name| name.strip_suffix('`'))
                .filter(|name| !name.is_empty() && !name.contains('`'))
                .map(str::to_owned)
                .ok_or_else(|| format!("`{cell}` is not a list of names in backticks"))
        })
        .collect()
}

impl Row {
    /// `None` for lines of the page that are no row of a feature.
    fn parse(line: &str) -> Option<Result<Self, String>> {
        let inner = line.strip_prefix('|')?;
        let cells: Vec<&str> = inner.strip_suffix('|').unwrap_or(inner).split('|').map(str::trim).collect();
        let id = *cells.first()?;
        if id == "Id" || id.chars().all(|c| c == '-') {
            return None;
        }
        let [_, feature, state, files, tests] = cells.as_slice() else {
            return Some(Err(format!("{id}: {} cells instead of 5", cells.len())));
        };
        let row = || -> Result<Self, String> {
            Ok(Self {
                id: id.to_owned(),
                feature: (*feature).to_owned(),
                state: State::parse(state)?,
                files: names(files)?,
                tests: names(tests)?,
            })
        };
        Some(row().map_err(|mistake| format!("{id}: {mistake}")))
    }

    /// What this row's state promises and the row does not keep.
    fn mistakes(&self, file_exists: impl Fn(&str) -> bool, test_exists: impl Fn(&str) -> bool) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.feature.is_empty() {
            mistakes.push("says nothing".to_owned());
        }
        match self.state {
            State::Absent | State::AbsentByDecision => {
                if !self.files.is_empty() || !self.tests.is_empty() {
                    mistakes.push(format!("is {:?} and yet names files or tests", self.state));
                }
            }
            State::Partial | State::Done => {
                if self.files.is_empty() {
                    mistakes.push(format!("is {:?} and names no file", self.state));
                }
                if self.state == State::Done && self.tests.is_empty() {
                    mistakes.push("is Done and names no test".to_owned());
                }
            }
        }
        mistakes
            .extend(self.files.iter().filter(|file| !file_exists(file)).map(|file| format!("there is no file {file}")));
        mistakes
            .extend(self.tests.iter().filter(|test| !test_exists(test)).map(|test| format!("there is no test {test}")));
        mistakes.into_iter().map(|mistake| format!("{}: {mistake}", self.id)).collect()
    }
}

/// The rows of a page; mistakes in their form go to `mistakes`.
fn rows(page: &str, mistakes: &mut Vec<String>) -> Vec<Row> {
    let mut rows = Vec::new();
    for parsed in page.lines().filter_map(Row::parse) {
        match parsed {
            Ok(row) => rows.push(row),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    rows
}

/// The ids of all chapters: consecutive from 1 in each, two digits.
fn expected_ids() -> Vec<String> {
    CHAPTERS
        .iter()
        .flat_map(|(prefix, count)| (1..=*count).map(move |number| format!("{prefix}-{number:02}")))
        .collect()
}

/// The names of the functions in `source` that carry a test attribute (`#[test]`, also inside a macro that makes tests).
fn test_functions(source: &str, into: &mut BTreeSet<String>) {
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") {
            is_test = true;
        } else if let Some(name) = function_name(line) {
            if is_test {
                into.insert(name.to_owned());
            }
            is_test = false;
        } else if line.ends_with('}') || line.ends_with(';') {
            is_test = false;
        }
    }
}

/// The name of the function that `line` begins to define.
fn function_name(line: &str) -> Option<&str> {
    let mut rest = line;
    for word in ["pub(crate) ", "pub ", "async "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let rest = rest.strip_prefix("fn ")?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    rest.get(..end).filter(|name| !name.is_empty())
}

fn features() -> String {
    read(&repository().join("docs/features.md"))
}

#[test]
fn the_feature_table_names_every_feature_once_and_in_order() {
    let mut mistakes = Vec::new();
    let ids: Vec<String> = rows(&features(), &mut mistakes).into_iter().map(|row| row.id).collect();
    let expected = expected_ids();

    let known: BTreeSet<&String> = expected.iter().collect();
    let named: BTreeSet<&String> = ids.iter().collect();
    mistakes.extend(known.difference(&named).map(|id| format!("{id} is missing")));
    mistakes.extend(named.difference(&known).map(|id| format!("{id} is not in the list of chapters")));
    for (index, id) in ids.iter().enumerate() {
        if ids.get(..index).is_some_and(|before| before.contains(id)) {
            mistakes.push(format!("{id} is there more than once"));
        }
    }
    fail_with(&mistakes);
    assert_eq!(ids, expected, "the rows are out of order");
}

#[test]
fn every_file_and_test_of_the_feature_table_exists() {
    let mut tests = BTreeSet::new();
    for path in all_rust_files() {
        test_functions(&read(&path), &mut tests);
    }
    let file_exists = |file: &str| ROOTS.iter().any(|root| repository().join(root).join(file).exists());
    let test_exists = |test: &str| tests.contains(test);

    let mut mistakes = Vec::new();
    for row in rows(&features(), &mut mistakes) {
        mistakes.extend(row.mistakes(file_exists, test_exists));
    }
    fail_with(&mistakes);
}

/// What a build with all features can't show: the one without clients is asked for as such, and checked by the gate.
#[test]
fn the_dedicated_server_asks_for_no_clients() {
    let manifest = read(&repository().join("examples/dedicated_server/Cargo.toml"));
    let dependency = manifest.lines().find(|line| line.starts_with("ghostline = ")).expect("it depends on ghostline");
    assert!(dependency.contains("\"server\"") && !dependency.contains("\"client\""), "{dependency}");
    let workspace = read(&repository().join("Cargo.toml"));
    let inherited = workspace.lines().find(|line| line.starts_with("ghostline = ")).expect("the workspace names it");
    assert!(inherited.contains("default-features = false"), "{inherited}");
    let gate = read(&repository().join(".ci/run"));
    for combination in ["dedicated_server|", "ghostline|--no-default-features --features server,quic"] {
        assert!(gate.contains(&format!("\"{combination}\"")), "the gate leaves out {combination}");
    }
}

#[test]
fn a_row_that_promises_too_much_is_found() {
    let judge = |line: &str| -> Vec<String> {
        match Row::parse(line).expect("a row") {
            Ok(row) => row.mistakes(|file| file == "here.rs", |test| test == "it_holds"),
            Err(mistake) => vec![mistake],
        }
    };
    for fine in [
        "| W-01 | a | absent | – | – |",
        "| W-01 | a | absent by decision: so | – | – |",
        "| W-01 | a | partial: the rest | `here.rs` | – |",
        "| W-01 | a | done | `here.rs` | `it_holds` |",
    ] {
        assert_eq!(judge(fine), Vec::<String>::new(), "{fine}");
    }
    for (wrong, mistake) in [
        ("done | `here.rs` | –", "is Done and names no test"),
        ("done | – | `it_holds`", "is Done and names no file"),
        ("done | `gone.rs` | `it_holds`", "there is no file gone.rs"),
        ("done | `here.rs` | `it_broke`", "there is no test it_broke"),
        ("done | here.rs | –", "`here.rs` is not a list of names in backticks"),
        ("done | `here.rs`", "4 cells instead of 5"),
        ("partial: | `here.rs` | –", "`partial:` is no state"),
        ("partial: the rest | – | –", "is Partial and names no file"),
        ("absent | `here.rs` | –", "is Absent and yet names files or tests"),
    ] {
        let row = format!("| W-01 | a | {wrong} |");
        let expected = format!("W-01: {mistake}");
        assert!(judge(&row).contains(&expected), "{row}: {:?}", judge(&row));
    }
}

#[test]
fn only_functions_with_a_test_attribute_count_as_tests() {
    let mut found = BTreeSet::new();
    let source = "#[test]\n#[ignore]\nfn plain() {}\nfn helper() {}\nproptest! {\n    #[test]\n    fn inside(x in 0..3) {}\n}\n// fn said() {}\n";
    test_functions(source, &mut found);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["inside", "plain"]);
}

#[test]
fn every_source_file_begins_by_saying_what_it_is() {
    let crates = repository().join("crates");
    let mut mistakes = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(&crates).expect("the folder of the crates") {
        let sources = entry.expect("a readable directory entry").path().join("src");
        if !sources.is_dir() {
            continue;
        }
        for path in rust_files(&sources) {
            seen += 1;
            if !read(&path).starts_with("//!") {
                mistakes.push(format!("{} does not begin with `//!`", path.display()));
            }
        }
    }
    assert!(seen > 0, "no source file was found under {}", crates.display());
    fail_with(&mistakes);
}

#[test]
fn no_source_file_leaves_work_for_later() {
    // Taken apart, so that this file is not its own first finding.
    let macros = [concat!("to", "do!"), concat!("un", "implemented!")];
    let mut mistakes = Vec::new();
    for path in all_rust_files() {
        for (number, line) in read(&path).lines().enumerate() {
            for name in macros.iter().filter(|name| line.contains(**name)) {
                mistakes.push(format!("{}:{}: {name}", path.display(), number + 1));
            }
        }
    }
    fail_with(&mistakes);
}
