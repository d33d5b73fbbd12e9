//! Shell completions and manual pages, generated from the declaration of the flags.

use std::fmt::Write as _;

use clap_complete::Shell;

use crate::exit::Error;
use crate::flags;

/// The completion script of a shell. In those of bash, zsh and fish the word `fetch` may be left out, as on the command
/// line, and `@` is followed by the name of a file.
pub(super) fn completions(shell: Shell) -> Vec<u8> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut flags::shown(), "overlapped", &mut out);
    let commands: Vec<_> =
        flags::declaration().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let outer = match shell {
        Shell::Bash => BASH.replace("COMMANDS", &commands.join("|")),
        Shell::Zsh => ZSH.replace("COMMANDS", &commands.join("|")),
        Shell::Fish => FISH.replace("COMMANDS", &commands.join(" ")),
        Shell::Elvish | Shell::PowerShell | _ => return out,
    };
    // The function that the shell calls is ours, and calls the one that was made, under another name.
    let text = String::from_utf8_lossy(&out).replacen("\n_overlapped() {", "\n_overlapped_parsed() {", 1);
    let text = match text.strip_prefix("_overlapped() {") {
        Some(rest) => format!("_overlapped_parsed() {{{rest}"),
        None => text,
    };
    let text = match shell {
        // What follows the function at its end calls it at once, when zsh loads the script for the first completion.
        // Flags may follow an input: `*::` would take all that comes behind the first one for inputs.
        Shell::Zsh => {
            let (function, end) = text.split_once("\nif [ \"$funcstack[1]\"").unwrap_or((&text, ""));
            let function = function.replace("'*::inputs", "'*:inputs");
            format!("{function}\n{outer}\nif [ \"$funcstack[1]\"{end}")
        }
        Shell::Bash | Shell::Fish | Shell::Elvish | Shell::PowerShell | _ => format!("{text}\n{outer}"),
    };
    text.into_bytes()
}

/// `$2` is what is completed. It begins with `@` even where bash, which splits words at `@`, counts two words.
const BASH: &str = r#"_overlapped() {
    local cur="$2" i
    if [[ $cur == @* ]]; then
        local IFS=$'\n'
        COMPREPLY=( $(compgen -f -- "${cur#@}") )
        compopt -o nospace 2>/dev/null
        for i in "${!COMPREPLY[@]}"; do
            local end=" "
            [[ -d ${COMPREPLY[i]} ]] && end="/"
            COMPREPLY[i]="@$(printf '%q' "${COMPREPLY[i]}")$end"
        done
        return 0
    fi
    case "${COMP_WORDS[1]}" in
        COMMANDS|help|-h|--help|-V|--version) ;;
        *)
            if [[ $COMP_CWORD -gt 1 || $cur == -* ]]; then
                COMP_WORDS=("${COMP_WORDS[0]}" fetch "${COMP_WORDS[@]:1}")
                COMP_CWORD=$((COMP_CWORD + 1))
            fi
            ;;
    esac
    _overlapped_parsed "$@"
}
"#;

const ZSH: &str = r#"_overlapped() {
    if [[ $PREFIX == @* ]]; then
        compset -P '@'
        _files
        return
    fi
    case $words[2] in
        (COMMANDS|help|-h|--help|-V|--version) ;;
        (*)
            if (( CURRENT > 2 )) || [[ $PREFIX == -* ]]; then
                words=("$words[1]" fetch "${(@)words[2,-1]}")
                (( CURRENT += 1 ))
            fi
            ;;
    esac
    _overlapped_parsed "$@"
}
"#;

const FISH: &str = r#"# Without a command it is fetch that is meant.
function __fish_overlapped_using_subcommand
    set -l cmd (commandline -opc)
    set -e cmd[1]
    if not contains -- "$cmd[1]" COMMANDS
        set cmd fetch
    end
    contains -- $cmd[1] $argv
end

function __fish_overlapped_lists
    set -l name (string sub --start 2 -- (commandline -ct))
    for file in (__fish_complete_path "$name")
        echo "@$file"
    end
end

complete -c overlapped -n "string match -q '@*' -- (commandline -ct)" -f -a "(__fish_overlapped_lists)"
"#;

/// The manual page of a command, or of the program.
///
/// # Errors
///
/// There is no such command.
pub(super) fn man(command: Option<&str>) -> Result<Vec<u8>, Error> {
    let mut program = flags::declaration();
    program.build();
    let mut page = match command {
        None => program,
        Some(name) => {
            let found = program.get_subcommands().find(|known| known.get_name() == name).cloned();
            let names: Vec<_> = program.get_subcommands().map(clap::Command::get_name).collect();
            let unknown = || format!("there is no command `{name}`; there are {}", names.join(", "));
            found.ok_or_else(|| Error::Usage(unknown()))?.display_name(format!("overlapped-{name}"))
        }
    };
    let usage = page.render_usage().to_string();
    let after = page.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_commands = page.has_subcommands();
    let man = clap_mangen::Man::new(page).source(concat!("overlapped ", env!("CARGO_PKG_VERSION")));
    let mut out = Vec::new();
    let mut rendered = || {
        man.render_title(&mut out)?;
        man.render_name_section(&mut out)?;
        out.extend_from_slice(synopsis(&usage).as_bytes());
        man.render_description_section(&mut out)?;
        man.render_options_section(&mut out)?;
        if has_commands {
            man.render_subcommands_section(&mut out)?;
        }
        out.extend_from_slice(notes(&after).as_bytes());
        Ok(())
    };
    rendered().map_err(|error| Error::stdout(&error))?;
    Ok(out)
}

/// The synopsis, one line as written for each usage.
fn synopsis(usage: &str) -> String {
    let lines = usage.lines().map(|line| line.strip_prefix("Usage:").unwrap_or(line).trim());
    format!(".SH SYNOPSIS\n.nf\n{}\n.fi\n", lines.map(roff).collect::<Vec<_>>().join("\n"))
}

/// The text after the flags: examples, as written, and paragraphs.
fn notes(text: &str) -> String {
    let mut out = String::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        match paragraph.strip_prefix("Examples:\n") {
            Some(examples) => {
                let examples: Vec<_> = examples.lines().map(|line| roff(line.trim_start())).collect();
                let _ = write!(out, ".SH EXAMPLES\n.nf\n{}\n.fi\n", examples.join("\n"));
            }
            None => {
                let heading = if out.contains(".SH NOTES") { ".PP" } else { ".SH NOTES" };
                let _ = write!(out, "{heading}\n{}\n", roff(&paragraph.replace('\n', " ")));
            }
        }
    }
    out
}

/// A line of text escaped for roff.
fn roff(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    let line = line.replace('~', "\\(ti").replace('^', "\\(ha");
    if line.starts_with('.') { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_a_page_keep_their_lines_and_blanks() {
        let notes =
            notes("Examples:\n  overlapped 'a'    one\n  overlapped b      two\n\nTold\nafter.\n\nMore.");
        assert_eq!(
            notes,
            ".SH EXAMPLES\n.nf\noverlapped \\(aqa\\(aq    one\noverlapped b      two\n.fi\n\
             .SH NOTES\nTold after.\n.PP\nMore.\n"
        );
    }
}
