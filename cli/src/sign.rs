//! `gatehouse sign`: prints a signed request, to inspect or to send with another tool.

use std::path::Path;

use clap::{Args, ValueEnum};
use gatehouse_local::{Delivery, Error};

use crate::shell::{print, shell_quote};
use crate::vendor::DeliveryArguments;

pub(crate) const EXAMPLES: &str = "\
A signature with a timestamp is valid for five minutes; a bearer token, as long as it is configured.

Examples:
  gatehouse sign ada                                 a curl command with an example body
  gatehouse sign ada body.json | sh                  sign and send
  gatehouse sign agntix body.json --as headers | curl -H @- --data-binary @body.json URL
  gatehouse sign vapi-client body.json --as lambda-event > event.json
  sam local invoke ClientMessage --event event.json";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    delivery: DeliveryArguments,
    /// Format of the request
    #[arg(long = "as", value_enum, value_name = "FORM", default_value = "curl")]
    form: Form,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// A curl command that posts the request
    Curl,
    /// The headers, one `name: value` per line
    Headers,
    /// The event of a function URL (payload format 2.0), for `sam local invoke` and `aws lambda invoke`
    LambdaEvent,
}

pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    let Arguments { delivery: request, form } = arguments;
    let body = request.body()?;
    let delivery = request.sign(&request.secrets()?, &request.message_id()?, &body)?;
    let text = match form {
        Form::Curl => curl(&delivery, &request.url()?, request.file.as_deref().filter(|_| !request.changes_file()))?,
        Form::Headers => delivery.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect(),
        Form::LambdaEvent => format!("{:#}\n", delivery.to_lambda_event()),
    };
    print(&text)?;
    Ok(true)
}

fn curl(delivery: &Delivery, url: &str, file: Option<&Path>) -> Result<String, Error> {
    let (option, body) = match file.filter(|path| *path != Path::new("-")) {
        Some(path) => ("--data-binary", format!("@{}", path.display())),
        // `--data` and `--data-binary` would read a file if the body begins with @.
        None => (
            "--data-raw",
            std::str::from_utf8(&delivery.body).map_err(|_| "the body is not UTF-8; pass it as a file")?.to_owned(),
        ),
    };
    let headers: String =
        delivery.headers.iter().map(|(n, v)| format!(" \\\n  -H {}", shell_quote(&format!("{n}: {v}")))).collect();
    Ok(format!("curl -sS -i -w '\\n' {}{headers} \\\n  {option} {}\n", shell_quote(url), shell_quote(&body)))
}
