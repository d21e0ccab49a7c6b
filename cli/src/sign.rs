//! `gatehouse sign`: a signed request, to look at or to send with something else.

use std::io::Write;
use std::path::Path;

use clap::{Args, ValueEnum};
use gatehouse_local::{Delivery, Error};

use crate::vendor::DeliveryArguments;

pub(crate) const EXAMPLES: &str = "\
A Svix signature (ada, agntix) is good for five minutes; a bearer token for as long as it is configured.

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
    /// What to print
    #[arg(long = "as", value_enum, value_name = "FORM", default_value = "curl")]
    form: Form,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// A command that posts it
    Curl,
    /// `name: value`, a line each
    Headers,
    /// What the function URL hands the function (payload format 2.0), for `sam local invoke` and `aws lambda invoke`
    LambdaEvent,
}

pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    let Arguments { delivery: what, form } = arguments;
    let body = what.body()?;
    let delivery = what.sign(&what.secrets()?, &what.message_id()?, &body)?;
    let text = match form {
        Form::Curl => curl(&delivery, &what.url(), what.file.as_deref())?,
        Form::Headers => delivery.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect(),
        Form::LambdaEvent => format!("{:#}\n", delivery.to_lambda_event()),
    };
    print(&text)?;
    Ok(true)
}

fn curl(delivery: &Delivery, url: &str, file: Option<&Path>) -> Result<String, Error> {
    let (option, body) = match file.filter(|path| *path != Path::new("-")) {
        Some(path) => ("--data-binary", format!("@{}", path.display())),
        // Raw: a body that begins with @ must not be taken for a file's name.
        None => (
            "--data-raw",
            std::str::from_utf8(&delivery.body).map_err(|_| "the body is not UTF-8: give it as a file")?.to_owned(),
        ),
    };
    let headers: String =
        delivery.headers.iter().map(|(n, v)| format!(" \\\n  -H {}", quoted(&format!("{n}: {v}")))).collect();
    Ok(format!("curl -sS -i {}{headers} \\\n  {option} {}\n", quoted(url), quoted(&body)))
}

/// Prints; whoever closed standard output does not want to read it.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// As one word for a POSIX shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_text_as_it_was() {
        for text in ["", "plain", "it's", "$HOME `x` \"y\" \\ \n z"] {
            let script = format!("printf %s {}", quoted(text));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
