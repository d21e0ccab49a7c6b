//! The negotiation of the answer's form (RFC 9110, 12.5.1): an event stream, or one JSON object.

use gatehouse_edge::gate::outside_quotes;
use http::{HeaderMap, header};

const JSON: (&str, &str) = ("application", "json");
const STREAM: (&str, &str) = ("text", "event-stream");

/// Whether the client prefers one JSON object. At equal quality the form that is named more exactly wins, and then the
/// stream. A client that accepts neither gets the stream.
pub(crate) fn prefers_json(headers: &HeaderMap) -> bool {
    let ranges: Vec<Range<'_>> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| outside_quotes(value, ','))
        .filter_map(Range::parse)
        .collect();
    let best = |form| ranges.iter().filter_map(|range| range.matches(form)).max_by_key(|found| found.exactness);
    match (best(JSON), best(STREAM)) {
        (Some(json), Some(stream)) => {
            (json.quality, json.exactness) > (stream.quality, stream.exactness) && json.quality > 0
        }
        (Some(json), None) => json.quality > 0,
        (None, _) => false,
    }
}

/// A media range.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// In thousandths.
    quality: u16,
}

/// A range that matches a form.
struct Match {
    /// 2 for the form itself, 1 for `type/*`, 0 for `*/*`.
    exactness: u8,
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(range: &'a str) -> Option<Self> {
        let mut parts = outside_quotes(range, ';');
        let (kind, subtype) = parts.next()?.trim().split_once('/')?;
        let quality = parts.find_map(|parameter| {
            let (name, value) = parameter.trim().split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
        });
        Some(Range { kind, subtype, quality: quality.unwrap_or(1000) })
    }

    fn matches(&self, (kind, subtype): (&str, &str)) -> Option<Match> {
        let exactness = match (self.kind, self.subtype) {
            ("*", "*") => 0,
            (own, "*") if own.eq_ignore_ascii_case(kind) => 1,
            (own, sub) if own.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) => 2,
            _ => return None,
        };
        Some(Match { exactness, quality: self.quality })
    }
}

/// A quality of up to three decimals. What is no number counts as the default, 1.
fn thousandths(quality: &str) -> u16 {
    let (whole, decimals) = quality.split_once('.').unwrap_or((quality, ""));
    let decimals = format!("{decimals:0<3}");
    match (whole, decimals.get(..3).and_then(|decimals| decimals.parse().ok())) {
        ("0" | "", Some(thousandths)) if !quality.is_empty() => thousandths,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefers(accept: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        prefers_json(&headers)
    }

    #[test]
    fn json_is_preferred_by_the_rules_of_http() {
        for json in [
            "application/json",
            "APPLICATION/JSON",
            "Application/Json; charset=utf-8",
            "application/json, text/event-stream;q=0",
            "application/json, text/event-stream;q=0.9",
            "text/event-stream; q=0.5 , application/json ; Q=0.501",
            "application/json;q=0.001",
            "application/json, text/plain, */*",
            "application/*",
            "text/*;q=0.1, application/*;q=0.2",
            "application/json;profile=\"a,text/event-stream;q=1\"",
            "*/*, text/event-stream;q=0",
            ", ,application/json,",
        ] {
            assert!(prefers(&[json]), "{json}");
        }
        assert!(prefers(&["text/event-stream;q=0.2", "application/json;q=0.3"]), "two headers");
        for stream in [
            "",
            "*/*",
            "text/event-stream",
            "text/*",
            "application/json, text/event-stream",
            "application/json;q=0",
            "application/json;q=0.0, */*",
            "application/json;q=0.2, text/event-stream;q=0.3",
            "application/json;q=0.4, */*;q=0.8",
            "application/jsonlines",
            "application/json-seq",
            "text/json",
            "application/json+x",
            "xapplication/json",
            "text/html",
            "json",
            "text/event-stream, application/*",
        ] {
            assert!(!prefers(&[stream]), "{stream}");
        }
        assert!(!prefers(&[]));
    }
}
