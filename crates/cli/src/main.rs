//! The program `overlapped`: a list of URLs in, one record a row out.
//!
//! This file starts the program and turns how it ended into an exit code and at most one line. It must never do
//! more: what a command does is in `commands`, what the flags mean in `flags`.

// From the outside in; a module imports only modules listed below it.
mod commands;
mod report;
mod flags;
mod picture;
mod terminal;
mod shell;
mod exit;

use std::process::ExitCode;

use exit::Error;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match commands::run(std::env::args_os().skip(1)) {
        Ok(ending) => ending.into(),
        Err(error) => {
            match &error {
                Error::OutputClosed => {}
                Error::Usage(text) | Error::Output(text) | Error::Journal(text) => {
                    terminal::say(format_args!("overlapped: {text}"))
                }
            }
            error.code()
        }
    }
}
