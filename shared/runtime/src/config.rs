//! The environment variables for the table and the queues.

/// The settings for recording, from a function's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `TABLE_NAME`: the event table.
    pub table: String,
    /// `RETRY_QUEUE_URL`: the retry queue; absent in a function that never queues.
    pub retry_queue: Option<String>,
    /// `DEAD_LETTER_QUEUE_URL`: the dead-letter queue; only `event-retry` needs it.
    pub dead_letter_queue: Option<String>,
    /// `EVENT_TTL_DAYS`: the time that events are stored, in days. Default 90, minimum 30.
    pub ttl_days: u32,
    /// `QUEUE_MAX_BYTES`: the largest message that the queue accepts, in bytes. Default 1 MiB.
    pub queue_max_bytes: usize,
}

/// A missing or invalid environment variable. The message has its name and the expected value, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The variable is not set, or empty.
    #[error("the environment variable {0} is not set; set it to {1}")]
    Missing(&'static str, &'static str),
    /// The variable has an invalid value.
    #[error("the environment variable {0} is not usable; set it to {1}")]
    Invalid(&'static str, &'static str),
}

impl Config {
    /// Reads the variables with `get`, which is `std::env::var` outside tests.
    ///
    /// # Errors
    /// If a variable is missing or invalid.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = |name| get(name).filter(|value| !value.is_empty());
        Ok(Config {
            table: needed(get, "TABLE_NAME", "the event table's name")?,
            retry_queue: text("RETRY_QUEUE_URL"),
            dead_letter_queue: text("DEAD_LETTER_QUEUE_URL"),
            ttl_days: number(text("EVENT_TTL_DAYS"), 90, &|days| (30..=36_500).contains(&days))
                .ok_or(ConfigError::Invalid("EVENT_TTL_DAYS", "a number of days, 30 or more"))?,
            queue_max_bytes: number(text("QUEUE_MAX_BYTES"), 1_048_576, &|bytes| bytes >= 4096)
                .ok_or(ConfigError::Invalid("QUEUE_MAX_BYTES", "a number of bytes, 4096 or more"))?,
        })
    }
}

/// Reads a variable that must be set with `get`.
///
/// # Errors
/// If it is missing or empty. `meaning` says what it must be.
pub fn needed(
    get: &dyn Fn(&str) -> Option<String>,
    name: &'static str,
    meaning: &'static str,
) -> Result<String, ConfigError> {
    get(name).filter(|value| !value.is_empty()).ok_or(ConfigError::Missing(name, meaning))
}

fn number<N: std::str::FromStr + Copy>(text: Option<String>, default: N, valid: &dyn Fn(N) -> bool) -> Option<N> {
    match text {
        None => Some(default),
        Some(text) => text.parse().ok().filter(|number| valid(*number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(&|name| variables.iter().find(|v| v.0 == name).map(|v| v.1.to_owned()))
    }

    #[test]
    fn only_table_name_is_required() {
        let config = read(&[("TABLE_NAME", "events")]).unwrap();
        assert_eq!((config.ttl_days, config.queue_max_bytes, config.retry_queue), (90, 1_048_576, None));
        assert!(read(&[]).is_err());
        assert!(read(&[("TABLE_NAME", "")]).is_err());
    }

    #[test]
    fn invalid_number_error_names_variable_without_value() {
        for days in ["29", "-1", "ninety", "1e3"] {
            let error = read(&[("TABLE_NAME", "events"), ("EVENT_TTL_DAYS", days)]).unwrap_err().to_string();
            assert!(error.contains("EVENT_TTL_DAYS") && !error.contains(days), "{error}");
        }
    }
}
