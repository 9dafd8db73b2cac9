function _clc_completion
    set -l token (commandline -ct)
    set -l option (string match -r -- '^--[^=]+=' $token)
    env _CLC_COMPLETE=fish_complete COMP_WORDS=(commandline -cp | string join ' ') \
        COMP_CWORD=$token clc 2> /dev/null < /dev/null | string replace -- plain, "$option"
end

complete --command clc --no-files --arguments '(_clc_completion)'
