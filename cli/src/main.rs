//! `gatehouse`, the command-line tool.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    gatehouse::run().await
}
