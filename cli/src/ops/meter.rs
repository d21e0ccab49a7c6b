//! Measures the cost of a command: requests to DynamoDB and SQS, and read units.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextMut,
    BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemInput, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};

use super::output::counted;

/// An SDK interceptor that counts requests and read units. Clones share the counts.
///
/// It sets `ReturnConsumedCapacity` on reads, so that DynamoDB reports their read units.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<String, usize>,
    read_units: f64,
}

impl Meter {
    fn with_counts<T>(&self, action: impl FnOnce(&mut Counts) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_counts(|counts| {
            let total: usize = counts.requests.values().sum();
            let each: Vec<_> = counts.requests.iter().map(|(operation, n)| format!("{operation} {n}")).collect();
            let requests = counted(total, "request");
            write!(f, "{requests} ({}), {} read units", each.join(", "), counts.read_units)
        })
    }
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (input, total) = (context.input_mut(), Some(ReturnConsumedCapacity::Total));
        if let Some(query) = input.downcast_mut::<QueryInput>() {
            query.return_consumed_capacity = total;
        } else if let Some(get) = input.downcast_mut::<GetItemInput>() {
            get.return_consumed_capacity = total;
        } else if let Some(get) = input.downcast_mut::<BatchGetItemInput>() {
            get.return_consumed_capacity = total;
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        self.with_counts(|counts| *counts.requests.entry(operation).or_default() += 1);
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Ok(output) = context.output_or_error() else { return Ok(()) };
        let units = |consumed: &ConsumedCapacity| consumed.capacity_units().unwrap_or_default();
        let consumed = if let Some(query) = output.downcast_ref::<QueryOutput>() {
            query.consumed_capacity().map(units)
        } else if let Some(get) = output.downcast_ref::<GetItemOutput>() {
            get.consumed_capacity().map(units)
        } else {
            output.downcast_ref::<BatchGetItemOutput>().map(|get| get.consumed_capacity().iter().map(units).sum())
        };
        self.with_counts(|counts| counts.read_units += consumed.unwrap_or_default());
        Ok(())
    }
}
