//! A deployed stack, as its outputs tell it.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_cloudformation::types::{Output, Stack};
use gatehouse_local::Error;

use crate::shell::innermost;

/// A stack's outputs.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// The stack's name.
    pub(crate) stack: String,
    values: BTreeMap<String, String>,
}

impl Outputs {
    /// # Errors
    /// When there is no such stack, or AWS cannot be asked.
    pub(crate) async fn of(sdk: &SdkConfig, stack: &str) -> Result<Self, Error> {
        let described = Client::new(sdk).describe_stacks().stack_name(stack).send().await;
        let described = described.map_err(|error| told(&format!("the stack {stack}"), &error))?;
        let outputs = described.stacks().iter().flat_map(Stack::outputs);
        let pair = |output: &Output| Some((output.output_key()?.to_owned(), output.output_value()?.to_owned()));
        Ok(Outputs { stack: stack.to_owned(), values: outputs.filter_map(pair).collect() })
    }

    /// An output's value.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn get(&self, key: &str) -> Result<&str, Error> {
        let missing = || {
            format!("the stack {} has no output {key}; is it a Gatehouse stack, and deployed to its end?", self.stack)
        };
        Ok(self.values.get(key).ok_or_else(missing)?)
    }
}

/// What AWS said about something, and what can be done about it.
pub(crate) fn told<E, R>(about: &str, error: &SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    if let Some(message) = error.message() {
        return format!("{about}: {}: {message}", error.code().unwrap_or("AWS says")).into();
    }
    let context = DisplayErrorContext(error).to_string();
    let advice = match context.as_str() {
        text if text.contains("redentials") => {
            "no AWS credentials were found; set AWS_PROFILE, or log in and run: eval \"$(aws configure export-credentials --format env)\""
        }
        text if text.contains("Region") => "no AWS region is set; set AWS_REGION",
        _ => "AWS could not be asked; check the network, the region and AWS_ENDPOINT_URL",
    };
    format!("{about}: {advice} ({})", innermost(error)).into()
}

/// The physical ids of a stack's resources of a type, such as `AWS::Logs::LogGroup`.
///
/// # Errors
/// When there is no such stack, or AWS cannot be asked.
pub(crate) async fn resources(sdk: &SdkConfig, stack: &str, kind: &str) -> Result<Vec<String>, Error> {
    let mut pages = Client::new(sdk).list_stack_resources().stack_name(stack).into_paginator().items().send();
    let mut found = Vec::new();
    while let Some(resource) = pages.next().await {
        let resource = resource.map_err(|error| told(&format!("the stack {stack}"), &error))?;
        if resource.resource_type() == Some(kind) {
            found.extend(resource.physical_resource_id().map(str::to_owned));
        }
    }
    Ok(found)
}
