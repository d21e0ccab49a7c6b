//! Negotiates the format of a response (RFC 9110, 12.5.1): an event stream or one JSON object.

use gatehouse_receiver::precheck::split_unquoted;
use http::{HeaderMap, header};

const JSON: (&str, &str) = ("application", "json");
const EVENT_STREAM: (&str, &str) = ("text", "event-stream");

/// The quality of a range without a quality value, in thousandths.
const DEFAULT_QUALITY: u16 = 1000;

/// Whether the client prefers one JSON object. If both formats have the same quality, the more specific range wins. If
/// the ranges are equally specific, or the client accepts neither format, it gets the event stream.
pub(crate) fn prefers_json(headers: &HeaderMap) -> bool {
    let ranges: Vec<Range<'_>> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| split_unquoted(value, ','))
        .filter_map(Range::parse)
        .collect();
    let best_match =
        |media_type| ranges.iter().filter_map(|range| range.matches(media_type)).max_by_key(|found| found.specificity);
    match (best_match(JSON), best_match(EVENT_STREAM)) {
        (Some(json), Some(stream)) => {
            (json.quality, json.specificity) > (stream.quality, stream.specificity) && json.quality > 0
        }
        (Some(json), None) => json.quality > 0,
        (None, _) => false,
    }
}

/// A media range of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// The quality value, in thousandths.
    quality: u16,
}

/// How a range matches a media type.
struct Match {
    /// 2 for the type itself, 1 for `type/*`, 0 for `*/*`.
    specificity: u8,
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(range: &'a str) -> Option<Self> {
        let mut parts = split_unquoted(range, ';');
        let (kind, subtype) = parts.next()?.trim().split_once('/')?;
        let quality = parts.find_map(|parameter| {
            let (name, value) = parameter.trim().split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
        });
        Some(Range { kind, subtype, quality: quality.unwrap_or(DEFAULT_QUALITY) })
    }

    fn matches(&self, (kind, subtype): (&str, &str)) -> Option<Match> {
        let has_kind = self.kind.eq_ignore_ascii_case(kind);
        let specificity = match (self.kind, self.subtype) {
            ("*", "*") => 0,
            (_, "*") if has_kind => 1,
            (_, own_subtype) if has_kind && own_subtype.eq_ignore_ascii_case(subtype) => 2,
            _ => return None,
        };
        Some(Match { specificity, quality: self.quality })
    }
}

/// Parses a quality value of up to three decimals. Invalid text counts as the default.
fn thousandths(quality: &str) -> u16 {
    let (whole, decimals) = quality.split_once('.').unwrap_or((quality, ""));
    let decimals = format!("{decimals:0<3}");
    match (whole, decimals.get(..3).and_then(|decimals| decimals.parse().ok())) {
        ("0" | "", Some(thousandths)) if !quality.is_empty() => thousandths,
        _ => DEFAULT_QUALITY,
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
    fn accept_header_selects_the_response_format() {
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
        assert!(prefers(&["text/event-stream;q=0.2", "application/json;q=0.3"]), "two Accept headers");
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
