"""``tapring completion``: a script that makes the shell complete commands, options and engines.

The script asks ``tapring completion SHELL --line TEXT`` what may follow. click has scripts, too;
they break at a colon (bash) and at a comma (fish), which addresses and lists of stages have.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Final, NoReturn

import click

from .arguments import OneOf
from .command import Command

_LONGEST_S: Final = 3.0  # a shell that waits longer for a completion seems to be stuck
_BASH: Final = r"""# tapring: completion for bash. In ~/.bashrc: source <(tapring completion bash)
_tapring() {
    local line=${COMP_LINE:0:COMP_POINT} type value word strip=
    word=${line##*[[:space:]]}
    # bash completes only what follows a character of COMP_WORDBREAKS, such as the colon.
    [[ $word == *:* && $COMP_WORDBREAKS == *:* ]] && strip=${word%"${word##*:}"}
    COMPREPLY=()
    while IFS=$'\t' read -r type value _; do
        case $type in
            plain) COMPREPLY+=("${value#"$strip"}") ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done < <("$1" completion bash --line "$line" 2>/dev/null </dev/null)
}
complete -o nosort -F _tapring tapring
"""
_ZSH: Final = r"""#compdef tapring
# tapring: completion for zsh. In ~/.zshrc, after compinit: source <(tapring completion zsh)
_tapring() {
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX" type value meaning
    local -a described plain
    [[ $PREFIX == --*=* ]] && compset -P '*='
    while IFS=$'\t' read -r type value meaning; do
        case $type in
            plain)
                if [[ -n $meaning ]]; then
                    described+=("${value//:/\\:}:$meaning")
                else
                    plain+=("$value")
                fi ;;
            file) _files ;;
            dir) _files -/ ;;
        esac
    done < <("${(Q)words[1]}" completion zsh --line "$line" 2>/dev/null </dev/null)
    (( $#described )) && _describe -V tapring described
    (( $#plain )) && compadd -V tapring -a plain
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _tapring "$@"
else
    compdef _tapring tapring
fi
"""
_FISH: Final = r"""# tapring: completion for fish.
# tapring completion fish > ~/.config/fish/completions/tapring.fish
function __tapring
    set -l line (commandline -cp | string collect)
    # fish completes whole words, also of --option=value.
    set -l before (commandline -ct | string match -r -- '^--[^=]*=')
    set -l path (commandline -ct | string replace -r -- '^--[^=]*=' '')
    for each in (tapring completion fish --line $line 2>/dev/null </dev/null)
        set -l part (string split \t -- $each)
        switch $part[1]
            case plain
                echo "$before"$part[2]\t$part[3]
            case file
                printf "$before%s\n" (__fish_complete_path $path)
            case dir
                printf "$before%s\n" (__fish_complete_directories $path)
        end
    end
end
complete -c tapring -f -a '(__tapring)'
"""
SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_EXAMPLES: Final = (
    "source <(tapring completion bash)  # in ~/.bashrc",
    "source <(tapring completion zsh)   # in ~/.zshrc, after compinit",
    "tapring completion fish > ~/.config/fish/completions/tapring.fish",
)


@click.command("completion", cls=Command, examples=_EXAMPLES)
@click.argument("shell", type=OneOf(list(SCRIPTS)))
@click.option("--line", hidden=True, help="Print what may follow this part of a command line.")
def command(shell: str, line: str | None) -> None:
    """Print a script that makes SHELL complete tapring's commands.

    It completes commands, options, and what runs: engines, their lanes, their sessions that can be
    attached to, and their stages; for tapring dump, what was recorded. SHELL is bash, zsh or fish.
    """
    if line is None:
        click.echo(SCRIPTS[shell], nl=False)
    else:
        _complete(line)


def _complete(line: str) -> NoReturn:
    """Print what may follow ``line``, and exit. Whatever happens, it neither fails nor hangs."""
    with suppress(BaseException):
        signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, _LONGEST_S)
        from . import main
        from .completing import lines

        sys.stdout.write("".join(f"{each}\n" for each in lines(main, line)))
        sys.stdout.flush()
    os._exit(0)


def _give_up(*_: object) -> NoReturn:
    os._exit(0)
