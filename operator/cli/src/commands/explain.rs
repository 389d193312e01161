//! `trireme explain`.

use trireme_cli::{Failure, Output, explain};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    choice: explain::Choice,
    /// For people or for programs.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    explain::run(&arguments.choice, arguments.output)
}
