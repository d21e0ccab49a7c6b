//! Requests and answers that were recorded from real servers. Needs the samples beside the repository.

use std::path::PathBuf;

use gatehouse_payload::ag_kit::Dialect;
use gatehouse_payload::ag_kit::check::check;
use gatehouse_payload::ag_kit::turn::{End, Turn};
use gatehouse_sse::Reader;

fn samples(ending: &str) -> Vec<(String, Dialect, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples/ag-kit");
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut samples = Vec::new();
    for path in files.map(|file| file.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let dialect = match name.split('_').next() {
            Some("agkit") => Dialect::AgKit,
            Some("agui") => Dialect::AgUi,
            _ => continue,
        };
        if name.ends_with(ending) && !name.contains("response") {
            samples.push((name, dialect, std::fs::read(path).unwrap()));
        }
    }
    samples
}

#[test]
fn what_servers_took_is_right_and_what_they_refused_for_its_form_is_wrong() {
    for (name, dialect, request) in samples(".json") {
        let request = std::str::from_utf8(&request).unwrap().trim();
        let told = check(dialect, request).err().map(|wrong| wrong.to_string()).unwrap_or_default();
        let expected = match name.as_str() {
            name if name.contains("tool_without_id") => "messages[0].toolCallId: it is needed",
            name if name.contains("bad_role") => "messages[0].role: one of system, user, assistant, tool is needed",
            // One server requires more than the dialect does: it may say so itself.
            _ => "",
        };
        assert_eq!(told, expected, "{name}");
        let other = if dialect == Dialect::AgKit { Dialect::AgUi } else { Dialect::AgKit };
        let has_mark = ["conversationId", "threadId"].iter().any(|mark| request.contains(mark));
        assert_eq!(check(other, request).is_err_and(|wrong| wrong.rule.contains("in the dialect")), has_mark, "{name}");
    }
}

#[test]
fn recorded_answers_end_as_they_did() {
    for (name, dialect, answer) in samples(".sse") {
        let mut turn = Turn::new(dialect);
        let mut reader = Reader::new(1 << 20);
        reader.feed(answer);
        while let Some(block) = reader.next_block().unwrap() {
            if let Some(event) = block.event {
                turn.take(&event.data);
            }
        }
        let end = match name.as_str() {
            // Cut by the server.
            "agkit_07_error_mid_stream.sse" => None,
            // The server adds nothing to what its agent says, and these agents say no end.
            "agui_01_text.sse" | "agui_03_server_tool_call.sse" | "agui_07_interrupt_custom.sse" => None,
            name if name.contains("interrupt") => Some(End::Interrupted),
            "agui_05_exception_mid_stream.sse" => Some(End::Failed("RUN_ERROR".to_owned())),
            _ => Some(End::Completed),
        };
        assert_eq!((turn.end, turn.odd), (end, 0), "{name}");
    }
}
