_clc_completion() {
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

complete -o nosort -F _clc_completion clc 2> /dev/null || complete -F _clc_completion clc
