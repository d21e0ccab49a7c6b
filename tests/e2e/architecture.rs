//! Checks that the documents and the dependency rules agree with the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn toml(path: &str) -> serde_json::Value {
    basic_toml::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The folders of all crates, each with its dependencies. Leaves out dev-dependencies.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let mut crates = BTreeMap::new();
    for member in toml("Cargo.toml")["workspace"]["members"].as_array().unwrap() {
        let member = member.as_str().unwrap();
        let folders: Vec<String> = match member.strip_suffix("/*") {
            None => vec![member.to_owned()],
            Some(parent) => {
                let entries = std::fs::read_dir(root().join(parent)).unwrap();
                let folders = entries.map(Result::unwrap).filter(|entry| entry.path().is_dir());
                folders.map(|entry| format!("{parent}/{}", entry.file_name().to_string_lossy())).collect()
            }
        };
        for folder in folders {
            let manifest = toml(&format!("{folder}/Cargo.toml"));
            let dependencies = manifest["dependencies"].as_object().cloned();
            crates.insert(folder, dependencies.unwrap_or_default().keys().cloned().collect());
        }
    }
    crates
}

/// Reads the source files below a crate's `src`. Returns their paths and texts.
fn sources(folder: &str) -> Vec<(String, String)> {
    rust_files(&format!("{folder}/src"))
}

fn rust_files(folder: &str) -> Vec<(String, String)> {
    fn walk(path: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found
}

#[test]
fn code_map_lists_exactly_the_workspace_crates() {
    let page = read("ARCHITECTURE.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: BTreeSet<String> = rows.map(str::to_owned).collect();
    let folders: BTreeSet<String> = crates().into_keys().collect();
    assert_eq!(listed, folders);
}

/// The rank of a crate, by its folder. A crate depends only on crates of lower ranks.
fn rank(folder: &str) -> Option<u32> {
    match folder {
        "shared/payload" | "shared/sse" | "shared/egress" | "infra/sqs-protocol" | "tests/seeds" => Some(0),
        "shared/vendor" | "shared/runtime" | "tests/memory" => Some(1),
        // Each folder below `shared/vendors` is a vendor.
        vendor if vendor.starts_with("shared/vendors/") => Some(2),
        "shared/vendors" | "shared/messages" | "shared/inbox" | "shared/services" => Some(3),
        "shared/chat" | "shared/deliveries" | "shared/receiver" | "shared/timeline" => Some(4),
        "shared/replies" | "shared/lambda" => Some(5),
        function if function.starts_with("functions/") => Some(6),
        "infra/local" => Some(7),
        "cli" | "tests" | "tests/bench" | "tests/guard" | "examples/consumer" => Some(8),
        "tests/simulation" => Some(9),
        _ => None,
    }
}

#[test]
fn dependencies_point_one_way() {
    let name = |folder: &str| toml(&format!("{folder}/Cargo.toml"))["package"]["name"].as_str().unwrap().to_owned();
    let crates = crates();
    let ranks: BTreeMap<String, u32> = crates
        .keys()
        .map(|folder| (name(folder), rank(folder).unwrap_or_else(|| panic!("{folder} has no rank"))))
        .collect();
    for (folder, dependencies) in &crates {
        let own = ranks[&name(folder)];
        for dependency in dependencies {
            assert!(ranks.get(dependency).is_none_or(|rank| *rank < own), "{folder} depends on {dependency}");
        }
    }
}

/// Only the registry, and the functions and tools that bind a vendor, name the vendors' crates.
#[test]
fn shared_crates_name_no_vendor() {
    let vendors: Vec<String> =
        crates().into_keys().filter_map(|folder| folder.strip_prefix("shared/vendors/").map(str::to_owned)).collect();
    for (folder, dependencies) in crates() {
        // `replies` answers Vapi, `chat` configures agents with AG-Kit and AG-UI, `messages` has all vendors' types.
        let binds = ["shared/vendors", "shared/replies", "shared/chat", "shared/messages"].contains(&folder.as_str());
        if folder.starts_with("shared/") && !folder.starts_with("shared/vendors/") && !binds {
            let named = vendors.iter().find(|vendor| dependencies.contains(&format!("gatehouse-{vendor}")));
            assert_eq!(named, None, "{folder}");
        }
    }
}

#[test]
fn payload_depends_on_no_aws_or_http_crate() {
    let crates = crates();
    let forbidden = |name: &str| name.starts_with("aws") || ["http", "hyper", "tokio"].contains(&name);
    assert!(!crates["shared/payload"].iter().any(|dependency| forbidden(dependency)));
}

#[test]
fn only_inbox_and_deliveries_depend_on_dynamodb_and_sqs() {
    for (folder, dependencies) in crates() {
        let deployed = folder.starts_with("functions/") || folder.starts_with("shared/");
        let depends = dependencies.iter().any(|name| name == "aws-sdk-dynamodb" || name == "aws-sdk-sqs");
        let may_depend = ["shared/inbox", "shared/deliveries"].contains(&folder.as_str());
        assert_eq!(deployed && depends, may_depend, "{folder}");
    }
}

#[test]
fn functions_link_no_database_engine_and_no_cli() {
    for (folder, dependencies) in crates() {
        if folder.starts_with("functions/") || folder.starts_with("shared/") {
            let forbidden = |name: &&String| {
                ["dynoxide-rs", "rusqlite", "clap", "gatehouse-local"].iter().any(|f| name.starts_with(f))
            };
            assert_eq!(dependencies.iter().find(forbidden), None, "{folder}");
        }
    }
}

#[test]
fn only_main_uses_the_lambda_runtime_and_it_is_short() {
    for folder in crates().into_keys().filter(|folder| folder.starts_with("functions/")) {
        for (path, text) in sources(&folder) {
            let main = path.ends_with("main.rs");
            let runtime = ["lambda_runtime::", "lambda_http::", "gatehouse_lambda::"];
            assert_eq!(runtime.iter().any(|name| text.contains(name)), main, "{path}");
            assert!(!main || text.lines().count() <= 40, "{path} has more than 40 lines");
        }
    }
}

#[test]
fn every_property_test_prints_its_seed() {
    // The pattern is in two parts, because the test also searches this file, which must not match.
    let (block, call) = ("proptest", "! {");
    let mut properties = 0;
    for (path, text) in crates().into_keys().flat_map(|folder| rust_files(&folder)) {
        for block in text.split(&format!("{block}{call}\n")).skip(1) {
            properties += 1;
            assert!(block.trim_start().starts_with("#![proptest_config(gatehouse_seeds::cases("), "{path}");
        }
        assert!(!text.contains(concat!("Proptest", "Config")), "{path}");
    }
    assert!(properties > 10);
}

#[test]
fn crate_with_disabled_unit_tests_contains_none() {
    for folder in crates().into_keys() {
        if toml(&format!("{folder}/Cargo.toml"))["lib"]["test"] == false {
            for (path, text) in sources(&folder) {
                assert!(!text.contains("#[test]") && !text.contains("::test]"), "{path}");
            }
        }
    }
}

#[test]
fn source_files_have_at_most_600_lines() {
    for folder in crates().into_keys().filter(|folder| folder != "tests") {
        for (path, text) in sources(&folder) {
            assert!(text.lines().count() <= 600, "{path}");
        }
    }
}

/// Counts the constant-time comparisons in the source, because a test cannot measure the timing reliably. A crate with a
/// scheme of its own has at least one.
#[test]
fn secrets_are_compared_in_constant_time() {
    let mut found = BTreeMap::new();
    for folder in crates().into_keys().filter(|folder| folder.starts_with("shared/")) {
        let sources = sources(&folder);
        let code: Vec<&str> = sources.iter().map(|(_, text)| text.split("#[cfg(test)]").next().unwrap()).collect();
        let count = |text: &str| code.iter().map(|code| code.matches(text).count()).sum::<usize>();
        // The registry delegates to the vendors, and AG-Kit delivers nothing.
        let is_exempt = ["shared/vendors", "shared/vendors/ag-kit"].contains(&folder.as_str());
        if (count(" Credentials for ") > 0 && !is_exempt) || folder == "shared/chat" {
            found.insert(folder, count(".ct_eq("));
        }
    }
    for (folder, comparisons) in [("shared/vendor", 1), ("shared/vendors/vapi", 2), ("shared/chat", 1)] {
        assert_eq!(found.remove(folder), Some(comparisons), "{folder}");
    }
    let without: Vec<_> = found.iter().filter(|(_, comparisons)| **comparisons == 0).collect();
    assert!(without.is_empty(), "{without:?}");
}

#[test]
fn every_environment_variable_is_documented() {
    let page = read("docs/configuration.md");
    let is_variable = |word: &&str| {
        let upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        // The names of AG-UI's events look like environment variables.
        let is_event = gatehouse_ag_kit::ui::Event::KINDS.contains(word);
        word.contains('_') && word.len() > 3 && word.chars().all(upper) && !word.starts_with("AWS_LAMBDA_") && !is_event
    };
    let mut found = BTreeSet::new();
    // The vendors' types read no environment variables, but contain many names that look like them.
    let is_searched = |folder: &String| {
        let is_vendors = folder.starts_with("shared/vendors") || folder == "shared/messages";
        !folder.starts_with("tests") && !is_vendors && folder != "examples/consumer"
    };
    for folder in crates().into_keys().filter(is_searched) {
        for (_, text) in sources(&folder) {
            found.extend(text.split('"').skip(1).step_by(2).filter(is_variable).map(str::to_owned));
        }
    }
    assert!(found.contains("TABLE_NAME") && found.len() > 10, "{found:?}");
    let missing: Vec<_> = found.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The top-level modules that a crate's README lists.
fn listed_modules(readme: &str) -> BTreeSet<String> {
    let rows = readme.lines().filter_map(|row| row.strip_prefix("| `")?.split(" | ").next());
    let names = rows.flat_map(|names| names.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>());
    names.map(|name| name.split("::").next().unwrap_or_default().to_owned()).filter(|name| !name.is_empty()).collect()
}

#[test]
fn readme_of_each_crate_lists_its_modules() {
    let has_table =
        |folder: &String| folder.starts_with("shared/") && folder != "shared/sse" || folder == "infra/local";
    for folder in crates().into_keys().filter(has_table) {
        let source = read(&format!("{folder}/src/lib.rs"));
        let modules = source.lines().filter_map(|line| {
            line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
        });
        let modules: BTreeSet<String> = modules.collect();
        assert_eq!(listed_modules(&read(&format!("{folder}/README.md"))), modules, "{folder}");
    }
}

#[test]
fn outcome_tables_name_every_outcome() {
    let words: BTreeSet<&str> = gatehouse_payload::Outcome::ALL.into_iter().map(|outcome| outcome.as_str()).collect();
    let readme = read("README.md");
    let table = readme.split("| outcome | means |").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows: BTreeSet<&str> = table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(rows, words);
    let operations = read("docs/operations.md");
    let metrics = operations.lines().find(|row| row.starts_with("| `recorded`")).unwrap();
    let metrics: BTreeSet<&str> = metrics.split('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
    assert_eq!(metrics, words);
}

#[test]
fn readme_starts_with_the_two_commands() {
    let readme = read("README.md");
    let first_block = readme.split("```").nth(1).unwrap();
    let commands = first_block.lines().filter_map(|line| line.split('#').next()).map(str::trim);
    let commands: Vec<&str> = commands.filter(|line| line.starts_with("cargo")).collect();
    assert_eq!(commands, ["cargo run -- demo", "cargo test --workspace"]);
    assert!(read(".ci/run").contains("cargo test --workspace"));
}
