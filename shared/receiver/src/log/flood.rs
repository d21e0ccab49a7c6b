//! Bounds the log lines of requests that anybody can send.
//!
//! A flood of forged requests costs more for its log lines than for its invocations. Of all requests with the same
//! problem, the first one in a second gets a line. The next line with this problem has the number of the others.

use std::sync::{Mutex, PoisonError};

/// The problems of requests that need no valid secret or token.
pub(super) const REPEATABLE: [&str; 7] =
    ["unverified", "no-client", "no-secrets", "not-found", "method-not-allowed", "unsupported-media-type", "too-large"];

/// The state of each problem in [`REPEATABLE`].
#[derive(Debug, Default)]
pub(super) struct Flood(Mutex<[Repeated; REPEATABLE.len()]>);

/// The requests with one problem.
#[derive(Debug, Default)]
struct Repeated {
    /// The second of the last line, since 1970.
    second: i64,
    /// The number of requests since that line.
    more: u64,
}

impl Flood {
    /// Returns the number of requests that the line of this request also counts, or `None` if the request gets no line
    /// of its own. Requests with other problems always get one.
    pub(super) fn admit(&self, problem: Option<&str>, second: i64) -> Option<u64> {
        let Some(index) = REPEATABLE.iter().position(|repeatable| Some(*repeatable) == problem) else { return Some(0) };
        let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let repeated = problems.get_mut(index)?;
        if repeated.second == second {
            repeated.more += 1;
            return None;
        }
        repeated.second = second;
        Some(std::mem::take(&mut repeated.more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_second_and_problem_counts_the_others() {
        let flood = Flood::default();
        let admitted: Vec<_> = (0..1000).map(|_| flood.admit(Some("unverified"), 7)).collect();
        assert_eq!(admitted.iter().flatten().count(), 1);
        assert_eq!(flood.admit(Some("too-large"), 7), Some(0), "another problem has its own line");
        assert_eq!(flood.admit(Some("unverified"), 8), Some(999));
        assert_eq!(flood.admit(Some("unverified"), 8), None);
        assert_eq!(flood.admit(Some("unverified"), 60), Some(1));
    }

    #[test]
    fn lines_of_verified_requests_are_never_merged() {
        let flood = Flood::default();
        for problem in [None, Some("not-an-object"), Some("not-durable"), Some("forbidden")] {
            assert!((0..100).all(|_| flood.admit(problem, 7) == Some(0)), "{problem:?}");
        }
    }
}
