//! Reads the log level.

use tracing::metadata::LevelFilter;
use tracing_subscriber::filter::Targets;

/// The target of the lines with an outcome. Metrics and counts are computed from them, so no log level excludes them.
pub const OUTCOME_TARGET: &str = "gatehouse::outcome";

/// `RUST_LOG` is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "RUST_LOG is not usable: set it to error, warn, info, debug, trace or off, or to <target>=<level>, separated by \
     commas"
)]
pub struct InvalidLogLevel;

/// Reads `RUST_LOG` with `get`, which is `std::env::var` outside tests. `default` is the filter if it is not set.
///
/// # Errors
/// If an element is neither a level nor `<target>=<level>`. A mistyped level would otherwise be read as a target.
pub fn filter(get: &dyn Fn(&str) -> Option<String>, default: Targets) -> Result<Targets, InvalidLogLevel> {
    let Some(text) = get("RUST_LOG").filter(|text| !text.is_empty()) else { return Ok(default) };
    let is_level = |text: &str| text.parse::<LevelFilter>().is_ok();
    let is_valid = |element: &str| element.contains('=') || (!element.is_empty() && is_level(element));
    if !text.split(',').all(|element| is_valid(element.trim())) {
        return Err(InvalidLogLevel);
    }
    text.parse().map_err(|_| InvalidLogLevel)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn mistyped_level_is_an_error_and_not_a_target() {
        let read = |text: &str| filter(&|_| Some(text.to_owned()), Targets::new().with_default(Level::WARN));
        for valid in ["error", "WARN", "info,hyper=debug", "gatehouse_receiver=trace, warn", "off", "3", ""] {
            assert!(read(valid).is_ok(), "{valid}");
        }
        for invalid in ["inof", "info;debug", "warning", "hyper", "hyper=verbose", "info,", "a=b=c"] {
            assert_eq!(read(invalid), Err(InvalidLogLevel), "{invalid}");
        }
        assert!(
            read("").unwrap().would_enable("x", &Level::WARN) && !read("").unwrap().would_enable("x", &Level::INFO)
        );
        let targets = read("off").unwrap().with_target(OUTCOME_TARGET, Level::INFO);
        assert!(targets.would_enable(OUTCOME_TARGET, &Level::INFO) && !targets.would_enable("x", &Level::ERROR));
    }
}
