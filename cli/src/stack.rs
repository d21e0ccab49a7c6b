//! Reads the outputs and resources of a deployed CloudFormation stack.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use gatehouse_local::Error;

use crate::aws::{CLOUDFORMATION, NO_REGION, UNREACHABLE, child, members, no_credentials};
use crate::shell::innermost;

/// The outputs and parameters of a stack.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// The stack's name.
    pub(crate) stack: String,
    /// Whether CloudFormation refuses to delete the stack.
    pub(crate) is_protected: bool,
    values: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
}

impl Outputs {
    /// Reads the outputs of the stack with this name.
    ///
    /// # Errors
    /// If the stack does not exist, or AWS cannot be reached.
    pub(crate) async fn of(sdk: &SdkConfig, stack: &str) -> Result<Self, Error> {
        let region = sdk.region().map(|region| format!(" in {region}")).unwrap_or_default();
        let (about, input) = (format!("the stack {stack}{region}"), [("StackName", stack)]);
        let outputs = CLOUDFORMATION.query(sdk, &about, "DescribeStacks", &input, |answer| {
            let pairs = |list, key, value| {
                let pair = |member| Some((child(member, key)?.to_owned(), child(member, value)?.to_owned()));
                members(answer, list).into_iter().filter_map(pair).collect()
            };
            let protection = answer.descendants().find_map(|node| child(node, "EnableTerminationProtection"));
            Outputs {
                stack: stack.to_owned(),
                is_protected: protection == Some("true"),
                values: pairs("Outputs", "OutputKey", "OutputValue"),
                parameters: pairs("Parameters", "ParameterKey", "ParameterValue"),
            }
        });
        outputs.await
    }

    /// Returns the value of a parameter, if the stack has it.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Returns the value of an output.
    ///
    /// # Errors
    /// If the stack has no output with this key.
    pub(crate) fn get(&self, key: &str) -> Result<&str, Error> {
        let missing = || {
            format!("the stack {} has no output {key}; is it a Gatehouse stack, and is it fully deployed?", self.stack)
        };
        Ok(self.values.get(key).ok_or_else(missing)?)
    }
}

/// Converts an SDK error about `about` to a message with advice.
pub(crate) fn aws_error<E, R>(about: &str, error: &SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    if let Some(message) = error.message() {
        return format!("{about}: {}: {message}", error.code().unwrap_or("AWS error")).into();
    }
    let context = DisplayErrorContext(error).to_string();
    let advice = match context.as_str() {
        text if text.contains("redentials") => no_credentials(),
        text if text.contains("Region") => NO_REGION.to_owned(),
        _ => UNREACHABLE.to_owned(),
    };
    format!("{about}: {advice} ({})", innermost(error)).into()
}

/// Returns the physical ids of the stack's resources of the type `kind`, such as `AWS::Logs::LogGroup`.
///
/// # Errors
/// If the stack does not exist, or AWS cannot be reached.
pub(crate) async fn resources(sdk: &SdkConfig, stack: &str, kind: &str) -> Result<Vec<String>, Error> {
    let about = format!("the stack {stack}");
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let input = [("StackName", stack), ("NextToken", next.as_deref().unwrap_or_default())];
        let input = if next.is_some() { &input[..] } else { &input[..1] };
        let page = CLOUDFORMATION.query(sdk, &about, "ListStackResources", input, |answer| {
            for resource in members(answer, "StackResourceSummaries") {
                if child(resource, "ResourceType") == Some(kind) {
                    found.extend(child(resource, "PhysicalResourceId").map(str::to_owned));
                }
            }
            answer.descendants().find_map(|node| child(node, "NextToken")).map(str::to_owned)
        });
        next = page.await?;
        if next.is_none() {
            return Ok(found);
        }
    }
}
