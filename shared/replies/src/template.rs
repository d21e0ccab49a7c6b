//! Replies with placeholders that are filled from the message: `"Hello {{/customer/name|there}}"`.
//!
//! A placeholder is `{{/pointer}}` or `{{/pointer|default}}`. It is replaced by a string unchanged, or by a number or a
//! boolean as written. Any other value counts as missing. If a value is missing and the placeholder has no default, no
//! reply is produced. Filling never changes the form of a reply, because the text is escaped inside a JSON string.
//! Other text in braces is not changed, because Vapi has its own templates (`{{customer.name}}`).

use std::str::FromStr;

use gatehouse_payload::pointer::Pointer;
use serde_json::{Map, Value};

/// Returns the text for a placeholder from its pointer and its default.
type Fill<'f> = &'f dyn Fn(&Pointer, Option<&str>) -> Option<String>;

/// A JSON value with placeholders in its strings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Template {
    Fixed(Value),
    Text(Text),
    List(Vec<Template>),
    Object(Vec<(String, Template)>),
}

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text(Vec<Piece>);

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Fixed(String),
    Placeholder { pointer: Pointer, default: Option<String> },
}

/// The text that replaces a placeholder without a default while a template is checked. It is a telephone number,
/// because a telephone number passes all checks of texts.
const EXAMPLE_TEXT: &str = "+15550100";

/// The pointer of a placeholder that cannot be filled from the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing(pub(crate) Pointer);

impl Template {
    /// Parses the placeholders in a value.
    pub(crate) fn of(value: Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => match text.parse::<Text>()? {
                Text(pieces) if pieces.iter().all(|piece| matches!(piece, Piece::Fixed(_))) => {
                    Template::Fixed(Value::String(text))
                }
                text => Template::Text(text),
            },
            Value::Array(values) => Template::List(values.into_iter().map(Template::of).collect::<Result<_, _>>()?),
            Value::Object(members) => Template::Object(
                members
                    .into_iter()
                    .map(|(name, value)| Ok((name, Template::of(value)?)))
                    .collect::<Result<_, String>>()?,
            ),
            fixed => Template::Fixed(fixed),
        })
    }

    /// Fills the placeholders from a message. `text` returns the text at a pointer.
    pub(crate) fn fill(&self, text: &dyn Fn(&Pointer) -> Option<String>) -> Result<Value, Missing> {
        self.fill_with(&|pointer, default| text(pointer).or_else(|| default.map(str::to_owned)))
    }

    /// An example of the filled template, with defaults where the template has them.
    pub(crate) fn example(&self) -> Value {
        // Filling cannot fail, because every placeholder gets a text.
        self.fill_with(&|_, default| Some(default.unwrap_or(EXAMPLE_TEXT).to_owned())).unwrap_or_default()
    }

    fn fill_with(&self, fill: Fill<'_>) -> Result<Value, Missing> {
        Ok(match self {
            Template::Fixed(value) => value.clone(),
            Template::Text(text) => Value::String(text.fill_with(fill)?),
            Template::List(list) => {
                Value::Array(list.iter().map(|item| item.fill_with(fill)).collect::<Result<_, _>>()?)
            }
            Template::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), value.fill_with(fill)?)))
                    .collect::<Result<Map<_, _>, _>>()?,
            ),
        })
    }

    /// The texts with placeholders.
    fn texts(&self) -> Vec<&Text> {
        match self {
            Template::Fixed(_) => Vec::new(),
            Template::Text(text) => vec![text],
            Template::List(list) => list.iter().flat_map(Template::texts).collect(),
            Template::Object(members) => members.iter().flat_map(|(_, value)| value.texts()).collect(),
        }
    }

    /// The pointers of all placeholders.
    pub(crate) fn pointers(&self) -> Vec<&Pointer> {
        let pieces = self.texts().into_iter().flat_map(|text| &text.0);
        pieces
            .filter_map(|piece| if let Piece::Placeholder { pointer, .. } = piece { Some(pointer) } else { None })
            .collect()
    }

    /// Whether the template needs a text from the message, because a placeholder has no default.
    pub(crate) fn needs_text(&self) -> bool {
        self.texts()
            .iter()
            .any(|text| text.0.iter().any(|piece| matches!(piece, Piece::Placeholder { default: None, .. })))
    }

    /// Text in braces that looks like a placeholder but is not one.
    pub(crate) fn suspicious_braces(&self) -> Vec<String> {
        match self {
            Template::Fixed(Value::String(text)) => suspicious_braces(text),
            Template::Fixed(_) => Vec::new(),
            Template::Text(text) => {
                let fixed =
                    text.0.iter().filter_map(|piece| if let Piece::Fixed(text) = piece { Some(text) } else { None });
                fixed.flat_map(|text| suspicious_braces(text)).collect()
            }
            Template::List(list) => list.iter().flat_map(Template::suspicious_braces).collect(),
            Template::Object(members) => {
                let names = members.iter().filter(|(name, _)| name.contains("{{/")).map(|(name, _)| name.clone());
                names.chain(members.iter().flat_map(|(_, value)| value.suspicious_braces())).collect()
            }
        }
    }
}

impl Text {
    fn fill_with(&self, fill: Fill<'_>) -> Result<String, Missing> {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Fixed(text) => filled.push_str(text),
                Piece::Placeholder { pointer, default } => {
                    let text = fill(pointer, default.as_deref()).ok_or_else(|| Missing(pointer.clone()))?;
                    filled.push_str(&text);
                }
            }
        }
        Ok(filled)
    }
}

/// Finds `{{ /pointer }}` and `{{pointer/with/slashes}}`. Vapi's own templates use dots.
fn suspicious_braces(text: &str) -> Vec<String> {
    let inside = text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0));
    inside.filter(|inside| inside.contains('/')).map(|inside| format!("{{{{{inside}}}}}")).collect()
}

impl FromStr for Text {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{/") {
            let (inside, after) =
                after.split_once("}}").ok_or("a placeholder that begins with {{/ must end with }}")?;
            if inside.contains(['{', '}']) {
                return Err(format!("{{{{/{inside}}}}}: a placeholder cannot contain braces"));
            }
            let (pointer, default) = match inside.split_once('|') {
                Some((pointer, default)) => (pointer, Some(default.to_owned())),
                None => (inside, None),
            };
            let pointer = format!("/{pointer}").parse().map_err(|error| format!("{{{{/{inside}}}}}: {error}"))?;
            if !before.is_empty() {
                pieces.push(Piece::Fixed(before.to_owned()));
            }
            pieces.push(Piece::Placeholder { pointer, default });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Fixed(rest.to_owned()));
        }
        Ok(Text(pieces))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fill(template: Value) -> Result<Value, Missing> {
        let texts = [("/name", "Mira \"M\" \\ }}"), ("/a|b", "never"), ("/liquid", "{{/name}}")];
        let text =
            |pointer: &Pointer| texts.iter().find(|text| text.0 == pointer.to_string()).map(|text| text.1.to_owned());
        Template::of(template).unwrap().fill(&text)
    }

    #[test]
    fn placeholders_are_filled_in_all_strings() {
        assert_eq!(
            fill(json!({"a": ["x {{/name}}!", 1, null], "b": {"c": "{{/none|no one}}, {{/name}}"}})),
            Ok(json!({"a": ["x Mira \"M\" \\ }}!", 1, null], "b": {"c": "no one, Mira \"M\" \\ }}"}}))
        );
    }

    #[test]
    fn missing_text_without_a_default_prevents_the_reply() {
        assert_eq!(fill(json!(["a", "{{/none}}"])), Err(Missing("/none".parse().unwrap())));
        assert_eq!(fill(json!("{{/none|}}")), Ok(json!("")));
    }

    #[test]
    fn text_from_the_message_is_not_a_template() {
        assert_eq!(fill(json!("{{/liquid}}")), Ok(json!("{{/name}}")));
    }

    #[test]
    fn vapi_templates_are_not_changed() {
        let liquid = json!("Hi {{customer.name}}, {{ \"now\" | date: \"%H\" }} }} {{");
        assert_eq!(fill(liquid.clone()), Ok(liquid));
    }

    #[test]
    fn invalid_placeholder_names_the_broken_rule() {
        assert!(Template::of(json!("{{/name")).unwrap_err().contains("}}"));
        assert!(Template::of(json!("{{/a} and {{/b}}")).unwrap_err().contains("a placeholder cannot contain braces"));
        assert!(Template::of(json!(["{{/na~2me|x}}"])).unwrap_err().contains("{{/na~2me|x}}: in a pointer"));
    }

    #[test]
    fn example_uses_defaults_or_a_fixed_text() {
        let template = Template::of(json!({"a": "{{/x|+4670}}", "b": ["{{/y}} {{/z|z}}"], "c": true})).unwrap();
        assert_eq!(template.example(), json!({"a": "+4670", "b": ["+15550100 z"], "c": true}));
    }

    proptest! {
        #![proptest_config(gatehouse_seeds::cases(256))]

        #[test]
        fn text_without_placeholders_is_not_changed(text in "[a-z{}|/]{0,12}") {
            prop_assume!(!text.contains("{{/"));
            prop_assert_eq!(fill(json!(text.clone())), Ok(json!(text)));
        }
    }
}
