"""`clc completion`: print the script that lets a shell complete `clc`.

Click answers the scripts, but they are our own. With click's, a Tab press in bash shows an error
for `~/bin/clc` and ends a shell that has `set -e`; zsh ignores the second one of a session, and
turns `--output=t` into an argument `t`; fish cuts a help text at its first comma.
"""

import click

from clc_reset.cli import options

# Bash passes the command as it was typed, and `--output=t` as three words. It may be the 3.2 of
# macOS, which has no `nosort` and no negative index. Within quotes it inserts a suggestion as it
# is, and closes them; one that can't stand in them is left out.
_BASH = r"""_clc_completion() {
    local IFS=' ' clc=${1//\\/} response value word words=() joined=
    local quote=${COMP_WORDS[COMP_CWORD]:0:1}
    [[ $quote == [\"\'] ]] || quote=
    [[ $clc != \~/* ]] || clc=${HOME-}/${clc:2}
    type -P -- "$clc" > /dev/null || clc=clc
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ $word == = || $joined ]]; then
            words[${#words[@]}-1]+=$word
        else
            words+=("$word")
        fi
        joined=
        [[ $word != = ]] || joined=yes
    done
    COMPREPLY=()
    response=$(env _CLC_COMPLETE=bash_complete COMP_WORDS="${words[*]}" \
        COMP_CWORD=$((${#words[@]} - 1)) "$clc" 2> /dev/null < /dev/null) || return 0
    while IFS=, read -r word value; do
        [[ $value ]] || continue
        if [[ ! $quote ]]; then
            printf -v value %q "$value"
        elif [[ $value == *[$quote\\\$\`]* ]]; then
            continue
        fi
        COMPREPLY+=("$value")
    done <<< "$response"
}

complete -o nosort -F _clc_completion clc 2> /dev/null || complete -F _clc_completion clc"""

_ZSH = r"""#compdef clc

_clc_completion() {
    local kind value help
    local -a response plain described
    (( $+commands[clc] )) || return 1
    response=("${(@f)$(env _CLC_COMPLETE=zsh_complete COMP_WORDS="${words[1,CURRENT]}" \
        COMP_CWORD=$((CURRENT - 1)) clc 2> /dev/null < /dev/null)}")
    for kind value help in $response; do
        if [[ $help == _ ]]; then
            plain+=("$value")
        else
            described+=("$value:$help")
        fi
    done
    compset -P '--*='
    _describe -V clc described
    compadd -M 'm:{a-zA-Z}={A-Za-z}' -V clc -a plain
}

if [[ $funcstack[1] == _clc ]]; then
    _clc_completion "$@"
else
    compdef _clc_completion clc
fi"""

_FISH = r"""function _clc_completion
    set -l token (commandline -ct)
    set -l option (string match -r -- '^--[^=]+=' $token)
    env _CLC_COMPLETE=fish_complete COMP_WORDS=(commandline -cp | string join ' ') \
        COMP_CWORD=$token clc 2> /dev/null < /dev/null | string replace -- plain, "$option"
end

complete --command clc --no-files --arguments '(_clc_completion)'"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@options.command(
    "completion",
    'eval "$(clc completion bash)"    # in ~/.bashrc',
    'eval "$(clc completion zsh)"     # in ~/.zshrc, after compinit',
    "clc completion fish > ~/.config/fish/completions/clc.fish",
)
@click.argument("shell", type=click.Choice(tuple(SCRIPTS)))
@options.verbose_without_requests
def command(shell: str) -> str:
    """Print the completion script for a shell."""
    return SCRIPTS[shell]
