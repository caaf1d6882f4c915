"""Completion of commands and options in a shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def script(shell: str, options: Sequence[str], commands: Mapping[str, Sequence[str]]) -> str:
    """Return a completion script.

    Args:
      shell: ``"bash"`` or ``"zsh"``.
      options: Options before the command.
      commands: The options of each command, by its name.

    Returns:
      A script for the shell. Words that do not begin with a dash complete to file names.
    """
    cases = "\n".join(f'    {name}) words="{" ".join(each)}" ;;' for name, each in commands.items())
    lines = f"""\
_lrsched() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words="{" ".join([*commands, *options])}" each
  for each in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do case "$each" in
{cases}
  esac; done
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _lrsched lrsched"""
    # zsh runs completion functions of bash through this emulation.
    return lines if shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{lines}"
