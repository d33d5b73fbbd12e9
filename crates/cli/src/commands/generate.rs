//! Completions and manual pages, made from the declaration of the flags, so that they cannot differ from it.

use crate::exit::Error;
use crate::flags;

/// The completion script of a shell.
pub(super) fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut flags::declaration(), "overlapped", &mut out);
    out
}

/// The manual page of a command, or of the program.
///
/// # Errors
///
/// There is no such command.
pub(super) fn man(command: Option<&str>) -> Result<Vec<u8>, Error> {
    let mut program = flags::declaration();
    program.build();
    let page = match command {
        None => program,
        Some(name) => {
            let found = program.get_subcommands().find(|known| known.get_name() == name).cloned();
            let found = found.ok_or_else(|| Error::Usage(format!("there is no command `{name}`")))?;
            found.display_name(format!("overlapped-{name}"))
        }
    };
    let mut out = Vec::new();
    clap_mangen::Man::new(page).render(&mut out).map_err(|error| Error::stdout(&error))?;
    Ok(out)
}
