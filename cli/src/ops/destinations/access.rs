//! Whether the function deliver of a stack may reach a destination.

use gatehouse_deliveries::Destination;
use gatehouse_deliveries::destination::Target;

use crate::ops::deployment::Deployment;

/// Returns advice if the function deliver may not reach a destination.
pub(super) fn advice(deployment: &Deployment, destination: &Destination) -> Option<String> {
    let (_, outputs) = deployment.deployed.as_ref()?;
    let parameter = |name: &str| outputs.parameter(name).unwrap_or_default();
    match &destination.target {
        Target::Queue { url } => {
            let (arn, is_listed) = queue_access(url, parameter("DestinationQueueArns"))?;
            (!is_listed).then(|| format!("add {arn} to DestinationQueueArns, and deploy"))
        }
        Target::Function { name } => {
            let is_listed = lists_function(parameter("DestinationFunctionArns"), name);
            (!is_listed).then(|| format!("add the ARN of {name} to DestinationFunctionArns, and deploy"))
        }
        Target::Url { is_private, .. } => {
            let is_listed = parameter("PrivateFunctions").split(',').any(|function| function == "Deliver");
            let is_inside = is_listed && !parameter("SubnetIds").is_empty();
            let advice = "add Deliver to PrivateFunctions, set SubnetIds and SecurityGroupIds, and deploy";
            (*is_private && !is_inside).then(|| advice.to_owned())
        }
    }
}

/// Returns the ARN of the queue with a URL of AWS, and whether a list of ARNs has it. `None` for another URL.
fn queue_access(url: &str, arns: &str) -> Option<(String, bool)> {
    let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
    let (account, name) = path.split_once('/')?;
    let region = host.strip_prefix("sqs.")?.split('.').next()?;
    // Other partitions have other prefixes. A wildcard is not compared.
    let end = format!(":sqs:{region}:{account}:{name}");
    let is_listed = arns.split(',').any(|arn| arn.ends_with(&end) || arn.ends_with('*'));
    Some((format!("arn:aws{end}"), is_listed))
}

/// Whether a list of ARNs contains a function. `function` is an ARN or a name. A wildcard is not compared.
pub(crate) fn lists_function(arns: &str, function: &str) -> bool {
    // A partial ARN begins with the account.
    let end = if function.contains(":function:") { format!(":{function}") } else { format!(":function:{function}") };
    arns.split(',').any(|arn| arn == function || arn.ends_with(&end) || arn.ends_with('*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_is_permitted_by_its_arn() {
        let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/audit.fifo";
        let arn = "arn:aws:sqs:eu-west-1:123456789012:audit.fifo";
        let listed = |arns: &str| queue_access(url, arns).unwrap();
        assert_eq!(listed(""), (arn.to_owned(), false));
        for arns in [arn, &format!("arn:aws:sqs:eu-west-1:123456789012:other,{arn}"), "arn:aws:sqs:*"] {
            assert!(listed(arns).1, "{arns}");
        }
        for other in ["arn:aws:sqs:eu-west-1:123456789012:audit", "arn:aws:sqs:us-east-1:123456789012:audit.fifo"] {
            assert!(!listed(other).1, "{other}");
        }
        assert_eq!(queue_access("http://127.0.0.1:9002/000000000000/audit", arn), None);
    }
}
