//! Replies with places in them that are filled from the message: `"Hello {{/customer/name|there}}"`.
//!
//! A place is `{{/pointer}}` or `{{/pointer|default}}`. It takes a string as it is, and a number or a boolean as written;
//! anything else counts as missing. What is missing and has no default keeps the whole reply from being made. Filling a
//! place never changes a reply's form: the text stands in a JSON string, escaped. Whatever else is in braces is left alone,
//! for Vapi has templates of its own (`{{customer.name}}`).

use std::str::FromStr;

use gatehouse_payload::pointer::Pointer;
use serde_json::{Map, Value};

/// What stands in a place: of the text a pointer leads to and a default, either of which may be missing.
type Fill<'f> = &'f dyn Fn(&Pointer, Option<&str>) -> Option<String>;

/// A JSON value with places in its strings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Template {
    Fixed(Value),
    Text(Text),
    List(Vec<Template>),
    Object(Vec<(String, Template)>),
}

/// A text with places in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text(Vec<Piece>);

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Fixed(String),
    Place { pointer: Pointer, default: Option<String> },
}

/// What stands for text that is not known yet, where a template is checked: every text that is checked may be a telephone
/// number.
const STAND_IN: &str = "+15550100";

/// What a template needs and the message does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing(pub(crate) Pointer);

impl Template {
    /// Finds the places in a value.
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

    /// Fills the places from a message.
    pub(crate) fn fill(&self, said: &dyn Fn(&Pointer) -> Option<String>) -> Result<Value, Missing> {
        self.filled(&|pointer, default| said(pointer).or_else(|| default.map(str::to_owned)))
    }

    /// What it may come to: defaults where there are some.
    pub(crate) fn example(&self) -> Value {
        // There is something for every place.
        self.filled(&|_, default| Some(default.unwrap_or(STAND_IN).to_owned())).unwrap_or_default()
    }

    fn filled(&self, fill: Fill<'_>) -> Result<Value, Missing> {
        Ok(match self {
            Template::Fixed(value) => value.clone(),
            Template::Text(text) => Value::String(text.filled(fill)?),
            Template::List(list) => Value::Array(list.iter().map(|item| item.filled(fill)).collect::<Result<_, _>>()?),
            Template::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), value.filled(fill)?)))
                    .collect::<Result<Map<_, _>, _>>()?,
            ),
        })
    }

    /// Every text with places in it, or without.
    fn texts(&self) -> Vec<&Text> {
        match self {
            Template::Fixed(_) => Vec::new(),
            Template::Text(text) => vec![text],
            Template::List(list) => list.iter().flat_map(Template::texts).collect(),
            Template::Object(members) => members.iter().flat_map(|(_, value)| value.texts()).collect(),
        }
    }

    /// What it takes from a message.
    pub(crate) fn pointers(&self) -> Vec<&Pointer> {
        let pieces = self.texts().into_iter().flat_map(|text| &text.0);
        pieces.filter_map(|piece| if let Piece::Place { pointer, .. } = piece { Some(pointer) } else { None }).collect()
    }

    /// Whether there are messages that it cannot be filled from.
    pub(crate) fn needs_text(&self) -> bool {
        self.texts().iter().any(|text| text.0.iter().any(|piece| matches!(piece, Piece::Place { default: None, .. })))
    }

    /// Braces that look like a place and are none.
    pub(crate) fn doubtful(&self) -> Vec<String> {
        match self {
            Template::Fixed(Value::String(text)) => doubtful(text),
            Template::Fixed(_) => Vec::new(),
            Template::Text(text) => {
                let fixed =
                    text.0.iter().filter_map(|piece| if let Piece::Fixed(text) = piece { Some(text) } else { None });
                fixed.flat_map(|text| doubtful(text)).collect()
            }
            Template::List(list) => list.iter().flat_map(Template::doubtful).collect(),
            Template::Object(members) => {
                let names = members.iter().filter(|(name, _)| name.contains("{{/")).map(|(name, _)| name.clone());
                names.chain(members.iter().flat_map(|(_, value)| value.doubtful())).collect()
            }
        }
    }
}

impl Text {
    fn filled(&self, fill: Fill<'_>) -> Result<String, Missing> {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Fixed(text) => filled.push_str(text),
                Piece::Place { pointer, default } => {
                    let text = fill(pointer, default.as_deref()).ok_or_else(|| Missing(pointer.clone()))?;
                    filled.push_str(&text);
                }
            }
        }
        Ok(filled)
    }
}

/// `{{ /pointer }}` and `{{pointer/with/slashes}}`: Vapi's own have dots.
fn doubtful(text: &str) -> Vec<String> {
    let inside = text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0));
    inside.filter(|inside| inside.contains('/')).map(|inside| format!("{{{{{inside}}}}}")).collect()
}

impl FromStr for Text {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{/") {
            let (place, after) = after.split_once("}}").ok_or("a place that begins with {{/ ends with }}")?;
            if place.contains(['{', '}']) {
                return Err(format!("{{{{/{place}}}}}: a place holds no braces"));
            }
            let (pointer, default) = match place.split_once('|') {
                Some((pointer, default)) => (pointer, Some(default.to_owned())),
                None => (place, None),
            };
            let pointer = format!("/{pointer}").parse().map_err(|error| format!("{{{{/{place}}}}}: {error}"))?;
            if !before.is_empty() {
                pieces.push(Piece::Fixed(before.to_owned()));
            }
            pieces.push(Piece::Place { pointer, default });
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
    fn places_are_filled_wherever_a_string_stands() {
        assert_eq!(
            fill(json!({"a": ["x {{/name}}!", 1, null], "b": {"c": "{{/none|no one}}, {{/name}}"}})),
            Ok(json!({"a": ["x Mira \"M\" \\ }}!", 1, null], "b": {"c": "no one, Mira \"M\" \\ }}"}}))
        );
    }

    #[test]
    fn what_is_missing_without_a_default_keeps_the_whole_from_being_made() {
        assert_eq!(fill(json!(["a", "{{/none}}"])), Err(Missing("/none".parse().unwrap())));
        assert_eq!(fill(json!("{{/none|}}")), Ok(json!("")));
    }

    #[test]
    fn text_from_the_message_is_no_template_itself() {
        assert_eq!(fill(json!("{{/liquid}}")), Ok(json!("{{/name}}")));
    }

    #[test]
    fn vapis_own_templates_are_left_alone() {
        let own = json!("Hi {{customer.name}}, {{ \"now\" | date: \"%H\" }} }} {{");
        assert_eq!(fill(own.clone()), Ok(own));
    }

    #[test]
    fn a_place_that_cannot_be_read_says_what_would_be_right() {
        assert!(Template::of(json!("{{/name")).unwrap_err().contains("}}"));
        assert!(Template::of(json!("{{/a} and {{/b}}")).unwrap_err().contains("a place holds no braces"));
        assert!(Template::of(json!(["{{/na~2me|x}}"])).unwrap_err().contains("{{/na~2me|x}}: in a pointer"));
    }

    #[test]
    fn its_example_has_the_defaults_and_some_text_elsewhere() {
        let template = Template::of(json!({"a": "{{/x|+4670}}", "b": ["{{/y}} {{/z|z}}"], "c": true})).unwrap();
        assert_eq!(template.example(), json!({"a": "+4670", "b": ["+15550100 z"], "c": true}));
    }

    proptest! {
        #![proptest_config(gatehouse_seeds::cases(256))]

        #[test]
        fn a_text_without_places_stays_as_it_is(text in "[a-z{}|/]{0,12}") {
            prop_assume!(!text.contains("{{/"));
            prop_assert_eq!(fill(json!(text.clone())), Ok(json!(text)));
        }
    }
}
